"""The tables that a run prints to the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cam_adv.metrics.criteria import JUDGE_CRITERION, VICTIM_CRITERION
from cam_adv.metrics.intervals import Rate
from cam_adv.metrics.success import JUDGE_CONFIDENT
from cam_adv.runtime.run_dir import BATCHES
from cam_adv.schema.fields import Kind
from cam_adv.training.model_zoo import ModelHandle


def print_models(models: Sequence[ModelHandle]) -> None:
    """Print each model's metrics on the test images, and its folder in the store."""
    table = Table(title="models, on test images", title_justify="left", title_style="bold")
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
    Console().print(table)


def print_attack(kind: Kind, heading: str, rates: Mapping[str, Rate], figures: Mapping[str, Any]) -> None:
    """Print the rates of the criteria with their Wilson 95% intervals, and further figures in a line below."""
    confidence = ", with the required confidence" if kind == "type1" else ""
    texts = {
        "victim_criterion": f"{VICTIM_CRITERION[kind]}{confidence}",
        "judge_criterion": JUDGE_CRITERION[kind],
        "success": "success: both",
        "success_confident": f"success, with the judge's confidence ≥ {JUDGE_CONFIDENT}",
        "judge_criterion_f2": "the judge's criterion with f2 as the judge",
    }
    members = {name: f"the judge's criterion with {name.removeprefix('judge_criterion_')} alone" for name in rates}
    _print_rates(heading, "criterion", {texts.get(name, members[name]): rate for name, rate in rates.items()})
    Console().print("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


def print_agreement(rates: Mapping[str, Rate]) -> None:
    """Print how often the judge and its members agree with people, with Wilson 95% intervals."""
    _print_rates("agreement with people", "classifier", rates)


def _print_rates(heading: str, first_column: str, rates: Mapping[str, Rate]) -> None:
    table = Table(title=heading, title_justify="left", title_style="bold")
    table.add_column(first_column)
    table.add_column("rate", justify="right")
    table.add_column("95% interval", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate.rate:.1%}", f"{rate.low:.1%} to {rate.high:.1%}")
    Console().print(table)


def print_paths(folder: Path, outputs: Path) -> None:
    """Print the paths of the run's files, and the command that starts TensorBoard."""
    print(f"results   {folder}")
    for path in sorted(folder.rglob("*")):
        unfinished = folder / BATCHES in path.parents
        if path.suffix in (".html", ".png", ".gif", ".csv", ".json", ".safetensors") and not unfinished:
            print(f"          {path.relative_to(folder)}")
    print(f"curves    tensorboard --logdir {outputs.resolve()}")
