"""TensorBoard's HParams: the settings of a run and its metrics, to compare runs by."""

from collections.abc import Mapping
from typing import Any

from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from cam_adv.attacks.base import Attack
from cam_adv.metrics.funnel import judge_rate, victim_rate
from cam_adv.metrics.summary import AttackSummary
from cam_adv.schema.run import RunSettings

Value = int | float | bool | str | None

NOT_COMPARED = ("name", "outputs", "debug", "from", "resume", "retrain", "figures")
"""Keys that don't change a run's results."""

RESULT = "attack-result"
"""Group of the metrics, each of which is a chart of one dot. HParams sorts it before the curves, whose group is
`attack`, and the tabs of charts sort it after them."""


def hyperparameters(settings: RunSettings, attack: Attack, overrides: Mapping[str, Value]) -> dict[str, Value]:
    """The values that runs are compared by, by keys of the command line: some of every run, and its overrides."""
    always = {
        "dataset": settings.dataset.name,
        "model/victim": settings.model.victim.name,
        "attack": attack.name,
        "attack.strength": attack.strength,
        "attack.confidence": attack.confidence,
        "seed": settings.seed,
    }
    return always | {key: value for key, value in overrides.items() if key not in NOT_COMPARED}


def metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a `summary.json` that runs are compared by, the end of the funnel first, with names that suit
    both kinds of attack."""
    attack = AttackSummary.of(summary)
    values = {
        "success": attack.rates["success"].rate,
        "judge_as_asked": judge_rate(attack.kind, attack.rates).rate,
        "plausible": attack.rates["plausible"].rate,
        "victim_as_asked": victim_rate(attack.kind, attack.rates).rate,
        "seconds": attack.seconds,
        "median_distance": summary["median_distance"],
    }
    if attack.successes_per_second is not None:
        values["successes_per_second"] = attack.successes_per_second
    return values


def write_hparams(
    writer: SummaryWriter, hyperparameters: Mapping[str, Value], summary: Mapping[str, Any], name: str
) -> None:
    """Write the hyperparameters and metrics of a run into its own events; a key that is null gets no value.

    `SummaryWriter.add_hparams` would add another run. A list of keys and metrics is not written: TensorBoard would
    take one run's list for all runs, and without a list it collects the keys of all runs. It shows the first five
    metrics in the order of their tags until the user selects more; see `RESULT`.

    Args:
        name: of the run, not that of another one.
    """
    _, _, session_end = hparams({}, {})
    values = {key: value for key, value in hyperparameters.items() if value is not None}
    file_writer = writer._get_file_writer()
    file_writer.add_summary(hparams_pb(values, trial_id=name))
    file_writer.add_summary(session_end)
    for place, (metric, value) in enumerate(metrics(summary).items(), start=1):
        writer.add_scalar(f"{RESULT}/{place}_{metric}", value)
