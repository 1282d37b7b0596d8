"""A sweep's folder as it stands: its jobs, what each was asked, and what came out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from cam_adv.errors import UserError
from cam_adv.evaluation.outcome import Outcome
from cam_adv.overrides import Value, swept_keys, values_of
from cam_adv.sweep.record import NAME, Record, Status, read_json, unreadable

PLAN = "multirun.yaml"
"""Where a sweep's folder keeps what was asked for."""


@dataclass(frozen=True)
class Job:
    """One job. values: what each overridden key was set to. outcome: None where no attack has ended."""

    folder: Path
    number: int
    status: Status
    reason: str | None
    values: Mapping[str, Value]
    outcome: Outcome | None


@dataclass(frozen=True)
class Sweep:
    """All jobs in the order of their numbers. keys: the overridden keys that take several values."""

    folder: Path
    keys: tuple[str, ...]
    jobs: tuple[Job, ...]


def read_sweep(folder: Path) -> Sweep:
    """What stands in the folder of a sweep, which may still be running.

    Raises:
        UserError: it is not the folder of a sweep, or a file of a job can't be read.
    """
    folders = [path.parent for path in folder.glob(f"*/{NAME}")]
    if not folders:
        what = "holds no job of a sweep" if folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}.",
            "Give the folder of one sweep: outputs/multirun/<name>/<date>, as cam-adv -m printed it.",
        )
    jobs = sorted(map(_read_job, folders), key=lambda job: (job.number, job.folder.name))
    return Sweep(folder, tuple(_swept(jobs, _planned(folder))), tuple(jobs))


def swept_overrides(folder: str, overrides: Iterable[str], otherwise: str) -> str:
    """Those of a job's overrides that the sweep in `folder` gives several values; `otherwise` where it gives none."""
    keys = set(_planned(Path(folder)))
    return ",".join(text for text in overrides if not keys.isdisjoint(values_of([text]))) or otherwise


def text_of(value: Value) -> str:
    """A value as it would be written on a command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_job(folder: Path) -> Job:
    record = Record.read(folder)
    summary = folder / "summary.json"
    outcome = _read_outcome(summary) if summary.exists() else None
    return Job(folder, record.number, record.status, record.reason, values_of(record.overrides), outcome)


def _read_outcome(path: Path) -> Outcome:
    try:
        return Outcome.of(read_json(path))
    except (KeyError, TypeError) as error:
        raise unreadable(path) from error


def _swept(jobs: Iterable[Job], planned: Iterable[str]) -> list[str]:
    """Keys whose values differ, and those that will: of a sweep's first job alone nothing differs yet."""
    taken: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in job.values.items():
            taken.setdefault(key, set()).add(text_of(value))
    return [key for key, values in taken.items() if len(values) > 1 or key in set(planned)]


def _planned(folder: Path) -> list[str]:
    """Keys with several values on the command line; none of a folder that keeps no plan."""
    path = folder / PLAN
    if not path.exists():
        return []
    return swept_keys(OmegaConf.load(path).hydra.overrides.task)
