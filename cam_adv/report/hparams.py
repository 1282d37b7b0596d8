"""TensorBoard's HParams: what a run was asked, and the figures that came out, comparable over runs."""

from collections.abc import Mapping
from typing import Any

from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from cam_adv.evaluation.outcome import Outcome
from cam_adv.overrides import Value
from cam_adv.settings import Settings

NOT_COMPARED = ("name", "outputs", "debug", "resume", "retrain")
"""Keys that change nothing of what a run measures."""


def hyperparameters(settings: Settings, overrides: Mapping[str, Value]) -> dict[str, Value]:
    """What tells runs apart, by keys of the command line: what it set, and what else every run is asked."""
    always = {
        "dataset": settings.dataset.name,
        "model/victim": settings.model.victim.name,
        "attack": settings.attack.name,
        "attack.strength": settings.attack.strength,
        "attack.confidence": getattr(settings.attack, "confidence", None),  # latent attacks have it
        "seed": settings.seed,
    }
    return always | {key: value for key, value in overrides.items() if key not in NOT_COMPARED}


def metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a `summary.json` by which runs are compared."""
    outcome = Outcome.of(summary)
    figures = {question: rate.rate for question, rate in outcome.rates.items()}
    figures |= {"seconds": outcome.seconds, "median_distance": summary["median_distance"]}
    if outcome.successes_per_second is not None:
        figures["successes_per_second"] = outcome.successes_per_second
    return figures


def write_hparams(writer: SummaryWriter, hyperparameters: Mapping[str, Value], summary: Mapping[str, Any]) -> None:
    """One record in the run's own folder; a key that is null gets no value.

    `SummaryWriter.add_hparams` would make another run for it. Nor is a list of keys and metrics written: TensorBoard
    takes one run's list for all runs, while without any it collects what all runs have. It shows the first five
    metrics by the names of their tags until more are ticked: "attack/" stands before all other scalars.
    """
    _, _, ended = hparams({}, {})
    values = {key: value for key, value in hyperparameters.items() if value is not None}
    writer.file_writer.add_summary(hparams_pb(values, trial_id=""))  # without an id, the run's name stands for it
    writer.file_writer.add_summary(ended)
    for name, value in metrics(summary).items():
        writer.add_scalar(f"attack/{name}", value)
