"""The command `python -m cam_adv.benchmark`: a table, and `benchmark.json` in the folder where it is started."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cam_adv.benchmark import attack, clever, maps, pixels, start_up, training
from cam_adv.benchmark.alone import Measured, alone
from cam_adv.benchmark.machine import matrix_rate
from cam_adv.errors import UserError
from cam_adv.writing import write_whole

REPEATS, QUICK = 20, 5
WIDTH = 180
"""Columns of the table where it goes to a file."""

CASES = {
    "attack": (attack.successes, attack.published_step, attack.step),
    "growth": (attack.growth_in_images, attack.growth_in_steps, attack.memory),
    "training": (
        training.svae_beside_bare,
        training.classifier_beside_bare,
        training.svae_beside_template,
        training.classifier_beside_template,
        training.mlp_beside_template,
    ),
    "pixels": (pixels.beside_foolbox, pixels.beside_torchattacks, pixels.beside_art),
    "maps": (maps.beside_forward, maps.beside_torchcam, maps.beside_grad_cam, maps.beside_captum),
    "clever": (clever.of_mlp, clever.of_gap_cnn),
    "start_up": (start_up.help_text, start_up.completion, start_up.second_run),
}
FAST = (
    attack.step,
    training.classifier_beside_bare,
    training.mlp_beside_template,
    pixels.beside_foolbox,
    maps.beside_forward,
    maps.beside_torchcam,
    clever.of_mlp,
    start_up.help_text,
    start_up.completion,
)
"""Those of a quick benchmark: one of each kind but growth, and none that takes a minute."""


def main() -> None:
    """Time the cases, each in a process of its own; one that stands beside something not installed says so."""
    parser = argparse.ArgumentParser("python -m cam_adv.benchmark", description=main.__doc__)
    parser.add_argument("groups", nargs="*", help=f"which of {', '.join(CASES)}; all of them where none is named")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and only what takes no minute")
    asked = parser.parse_args()
    if unknown := set(asked.groups) - CASES.keys():
        parser.error(f"there is no group {', '.join(sorted(unknown))}: choose from {', '.join(CASES)}")
    cases = [case for name in asked.groups or CASES for case in CASES[name]]
    cases = [case for case in cases if case in FAST or not asked.quick]
    rate, lines = matrix_rate(), []
    for case in cases:
        try:
            lines.append(alone(case, QUICK if asked.quick else REPEATS))
            print(
                f"{lines[-1].line.case}: {lines[-1].line.ratio:.3g} times as fast as {lines[-1].line.beside}",
                flush=True,
            )
        except UserError as error:
            print(f"{case.__module__}.{case.__name__}: {error.what} {error.remedy}")
    content = [_content(measured, rate) for measured in lines]
    write_whole(Path("benchmark.json"), json.dumps(content, indent=2) + "\n")
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(_table(content, rate))


def _content(measured: Measured, matrix_rate: float) -> dict[str, Any]:
    """A line of `benchmark.json`: the comparison, operations a second, their share of the machine's, memory, time."""
    line = measured.line
    achieved = None if line.operations is None else line.operations / line.ours
    return asdict(line) | {
        "operations_per_second": achieved,
        "share_of_matrix_product": None if achieved is None else achieved / matrix_rate,
        "peak_memory": measured.memory,
        "took": measured.took,
    }


def _table(content: list[dict[str, Any]], rate: float) -> Table:
    title = f"benchmark; a product of matrices: {rate / 1e9:.0f} GFLOP/s"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("case", "ours", "beside", "other", "times as fast", "80% of pairs", "to reach", "GFLOP/s", "memory"):
        table.add_column(name)
    for line in content:
        ours, other = (f"{line[name]:.3g} {line['unit']}" for name in ("ours", "other"))
        spread = f"{line['low']:.3g} to {line['high']:.3g}"
        reach = "" if line["reach"] is None else f"{line['reach']:.2g}"
        achieved = ""
        if line["operations_per_second"] is not None:
            achieved = f"{line['operations_per_second'] / 1e9:.0f} ({line['share_of_matrix_product']:.0%})"
        memory = f"{line['peak_memory'] / 1e9:.1f} GB"
        table.add_row(
            line["case"], ours, line["beside"], other, f"{line['ratio']:.3g}", spread, reach, achieved, memory
        )
    return table


if __name__ == "__main__":
    main()
