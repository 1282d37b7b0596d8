"""The tables that end a run in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cam_adv.evaluation.intervals import Rate
from cam_adv.evaluation.questions import CHANGED, JUDGED, KEPT
from cam_adv.run_folder import BATCHES
from cam_adv.settings import Kind
from cam_adv.training.workshop import Model


def print_models(models: Sequence[Model]) -> None:
    """What was measured of each model on the test images, and where it is kept."""
    table = Table(title="models, on test images", title_justify="left", title_style="bold")
    table.add_column("model")
    table.add_column("figures")
    table.add_column("kept in", overflow="fold")
    for model in models:
        if model.training is None:
            table.add_row(model.title, "brought trained", "")
        else:
            figures = model.training.entry.metrics().items()
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures)
            table.add_row(model.title, shown, str(model.training.entry.folder))
    Console().print(table)


def print_attack(kind: Kind, heading: str, rates: Mapping[str, Rate], figures: Mapping[str, float]) -> None:
    """The rates with their Wilson 95% intervals, and the figures beside them."""
    judged = JUDGED[kind]
    questions = {
        "kept": f"kept: {KEPT[kind]}" + (", with the confidence asked for" if kind == "type1" else ""),
        "changed": f"changed: {CHANGED[kind]}",
        "success": "success: kept and changed",
        "success_confident": "success, and the judge is sure (≥ 0.9)",
        f"{judged}_f2": f"{judged}, if f2 is asked instead of the judge",
    }
    alone = {name: f"{judged}, if {name.removeprefix(f'{judged}_')} alone judges" for name in rates}
    _print_rates(heading, "question", {questions.get(name, alone[name]): rate for name, rate in rates.items()})
    Console().print("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


def print_agreement(rates: Mapping[str, Rate]) -> None:
    """How often the judge and its members agree with people, with Wilson 95% intervals."""
    _print_rates("agreement with people", "who", rates)


def _print_rates(heading: str, subject: str, rates: Mapping[str, Rate]) -> None:
    table = Table(title=heading, title_justify="left", title_style="bold")
    table.add_column(subject)
    table.add_column("rate", justify="right")
    table.add_column("95% interval", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate.rate:.1%}", f"{rate.low:.1%} to {rate.high:.1%}")
    Console().print(table)


def print_paths(folder: Path, outputs: Path) -> None:
    """Where to look: the run's files, and the root of everything for TensorBoard."""
    print(f"look at   {folder}")
    for path in sorted(folder.rglob("*")):
        unfinished = folder / BATCHES in path.parents
        if path.suffix in (".html", ".png", ".gif", ".csv", ".json", ".safetensors") and not unfinished:
            print(f"          {path.relative_to(folder)}")
    print(f"curves    tensorboard --logdir {outputs.resolve()}")
