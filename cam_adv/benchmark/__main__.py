"""The command `python -m cam_adv.benchmark`: a table, and `benchmark.json` in the working directory; with `gpu`, how
well a GPU is used, and `benchmark_gpu.json`."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cam_adv.benchmark import attack, cam, clever, gpu, pgd, start_up, training
from cam_adv.benchmark.isolated import IsolatedRun, run_isolated
from cam_adv.benchmark.machine import matmul_flops_per_second
from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_json

FILE = Path("benchmark.json")
REPEATS, QUICK_REPEATS = 20, 5
FILE_WIDTH = 180
"""Width of the table in characters if the output is not a terminal."""

CASES = {
    "attack": (
        attack.seconds_per_success,
        attack.seconds_per_fast_success,
        attack.tang2018_step,
        attack.type1_step,
    ),
    "scaling": (attack.scaling_in_images, attack.scaling_in_steps, attack.memory_scaling),
    "training": (
        training.svae_vs_bare_loop,
        training.classifier_vs_bare_loop,
        training.svae_vs_template,
        training.classifier_vs_template,
        training.mlp_vs_template,
    ),
    "pgd": (pgd.vs_foolbox, pgd.vs_torchattacks, pgd.vs_art),
    "cam": (cam.vs_forward_pass, cam.vs_torchcam, cam.vs_grad_cam, cam.vs_captum),
    "clever": (clever.mlp_vs_art, clever.gap_cnn_vs_art),
    "start_up": (start_up.help_text, start_up.completion, start_up.second_run),
}
QUICK_CASES = (
    attack.type1_step,
    training.classifier_vs_bare_loop,
    training.mlp_vs_template,
    pgd.vs_foolbox,
    cam.vs_forward_pass,
    cam.vs_torchcam,
    clever.mlp_vs_art,
    start_up.help_text,
    start_up.completion,
)
"""The cases of a quick benchmark: at least one of each group except scaling, each faster than a minute."""


def main() -> None:
    """Time the cases, each in a process of its own. A case whose baseline package is missing is left out."""
    parser = argparse.ArgumentParser("python -m cam_adv.benchmark", description=main.__doc__)
    choices = f"any of {', '.join(CASES)}; all by default. Or gpu, and overrides of the config such as dataset=mnist"
    parser.add_argument("groups", nargs="*", help=choices)
    parser.add_argument("--json", type=Path, help="the file of the results; benchmark.json or benchmark_gpu.json")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and only cases faster than a minute")
    arguments = parser.parse_args()
    if arguments.groups[:1] == ["gpu"]:
        gpu.main(arguments.groups[1:], arguments.json or gpu.FILE)
        return
    if unknown := set(arguments.groups) - CASES.keys():
        parser.error(f"there is no group {', '.join(sorted(unknown))}: choose from {', '.join(CASES)}, gpu")
    cases = [case for name in arguments.groups or CASES for case in CASES[name]]
    cases = [case for case in cases if case in QUICK_CASES or not arguments.quick]
    matmul_rate, rows, left_out = matmul_flops_per_second(), [], 0
    for case in cases:
        try:
            run = run_isolated(case, QUICK_REPEATS if arguments.quick else REPEATS)
        except UserError as error:
            print(f"{case.__module__}.{case.__name__}: {error.what} {error.remedy}")
            left_out += 1
            continue
        comparison = run.comparison
        print(
            f"{comparison.case}: {comparison.speedup:.3g} times as fast as {comparison.baseline}",
            flush=True,
        )
        rows.append(_row(run, matmul_rate))
    write_json(arguments.json or FILE, {"matmul_rate": matmul_rate, "cases": rows})
    console = Console()
    (console if console.is_terminal else Console(width=FILE_WIDTH)).print(_table(rows, matmul_rate))
    if left_out:
        parser.exit(1, f"{left_out} of {len(cases)} cases could not be measured, as said above.\n")


def _row(run: IsolatedRun, matmul_rate: float) -> dict[str, Any]:
    """A row of `benchmark.json`: the comparison, FLOP/s and their share of the machine's, memory and duration."""
    comparison = run.comparison
    flops_per_second = None if comparison.flops is None else comparison.flops / comparison.ours
    return asdict(comparison) | {
        "flops_per_second": flops_per_second,
        "share_of_matmul_rate": None if flops_per_second is None else flops_per_second / matmul_rate,
        "peak_memory": run.peak_memory,
        "seconds": run.seconds,
    }


def _table(rows: list[dict[str, Any]], matmul_rate: float) -> Table:
    title = f"benchmark; a matrix product: {matmul_rate / 1e9:.0f} GFLOP/s"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("case", "ours", "baseline", "theirs", "speedup", "80% of pairs", "target", "GFLOP/s", "memory"):
        table.add_column(name)
    for row in rows:
        ours, theirs = (f"{row[name]:.3g} {row['unit']}" for name in ("ours", "theirs"))
        spread = f"{row['low']:.3g} to {row['high']:.3g}"
        target = "" if row["target_speedup"] is None else f"{row['target_speedup']:.3g}"
        flops = ""
        if row["flops_per_second"] is not None:
            flops = f"{row['flops_per_second'] / 1e9:.0f} ({row['share_of_matmul_rate']:.0%})"
        memory = f"{row['peak_memory'] / 1e9:.1f} GB"
        table.add_row(
            row["case"], ours, row["baseline"], theirs, f"{row['speedup']:.3g}", spread, target, flops, memory
        )
    return table


if __name__ == "__main__":
    main()
