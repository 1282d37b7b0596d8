"""The tables that a run prints to the terminal."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cam_adv.metrics import funnel
from cam_adv.metrics.intervals import Rate
from cam_adv.pages.render import RUN_PAGE
from cam_adv.reports.console import console, new_table, print_table
from cam_adv.runtime.run_dir import BATCHES, start_time
from cam_adv.schema.fields import Kind
from cam_adv.training.model_zoo import ModelHandle

SUCCESS_FROM = "success_from_"
"""Prefix of the rates of single starts; see `attack_rates`."""

CONTROLS = {
    "generated_reads_perceived": "control: the judge reads it in G(z) alone",
    "f2_reads_perceived": "f2, which the attack optimises, as the judge",
}
"""Further rates of `attack_rates`, and what they are, in words."""


def print_models(models: Sequence[ModelHandle]) -> None:
    """Print each model's metrics on the test images, and its folder in the store."""
    table = new_table("models, on test images")
    table.add_column("model")
    table.add_column("metrics")
    table.add_column("folder", overflow="fold")
    for model in models:
        if model.training is None:
            table.add_row(model.title, "given trained", "")
        else:
            metrics = model.training.entry.metrics().items()
            text = "  ".join(f"{key} {value:.4g}" for key, value in metrics)
            table.add_row(model.title, text, str(model.training.entry.folder))
    print_table(table)


def print_attack(
    kind: Kind, heading: str, rates: Mapping[str, Rate], figures: Mapping[str, Any], from_samples: bool = False
) -> None:
    """Print the funnel with its 95% intervals, and further figures in a line below.

    Args:
        from_samples: see `funnel.rows`.
    """
    _print_rates(heading, "over all attempted", lines_of_rates(kind, rates, from_samples))
    console().print("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


def lines_of_rates(kind: Kind, rates: Mapping[str, Rate], from_samples: bool = False) -> dict[str, Rate]:
    """The funnel and further rates of `attack_rates`, in words; see `print_attack`."""
    lines = dict(funnel.rows(kind, rates, from_samples))
    lines |= {
        f"success of the results that started from {name.removeprefix(SUCCESS_FROM)}": rate
        for name, rate in rates.items()
        if name.startswith(SUCCESS_FROM)
    }
    return lines | {text: rates[name] for name, text in CONTROLS.items() if name in rates}


def print_agreement(rates: Mapping[str, Rate]) -> None:
    """Print how often the judge agrees with people, with Wilson 95% intervals."""
    _print_rates("the judge and people", "pictures", rates)


def _print_rates(heading: str, first_column: str, rates: Mapping[str, Rate]) -> None:
    table = new_table(heading)
    table.add_column(first_column)
    table.add_column("rate", justify="right")
    table.add_column("95% interval", justify="right")
    for name, rate in rates.items():
        interval = "" if rate.low == rate.high else f"{rate.low:.1%} to {rate.high:.1%}"
        table.add_row(name, f"{rate.rate:.1%}", interval)
    print_table(table)


def print_paths(folder: Path, outputs: Path) -> None:
    """Print the paths of the run's files and of its page, and the commands that start TensorBoard.

    One for attacks and one for trainings: together they would share colours, and have long names.
    """
    print(f"results   {folder}")
    # With hydra.run.dir=. the store and files of the user are in the folder, too.
    others = {folder / BATCHES, outputs.absolute()} - {folder, *folder.parents}
    start = start_time(folder)
    for path in sorted(folder.rglob("*")):
        shown = path.suffix in (".html", ".png", ".gif", ".csv", ".json", ".safetensors") and path.is_file()
        if shown and others.isdisjoint(path.parents) and path.stat().st_mtime >= start:
            print(f"          {path.relative_to(folder)}")
    if (folder / RUN_PAGE).exists():
        print(f"page      {folder / RUN_PAGE}")
    if any(folder.glob("events.out.tfevents.*")):
        print(f"curves    tensorboard --logdir {shlex.quote(str(folder.parent.resolve()))}")
    print(f"trainings tensorboard --logdir {shlex.quote(str((outputs / 'models').resolve()))}")
