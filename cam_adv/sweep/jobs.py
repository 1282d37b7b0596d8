"""The folder of a sweep, read back: its jobs, their overrides, states and results."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from cam_adv.config.overrides import Value, parse_overrides, swept_keys
from cam_adv.errors import UserError
from cam_adv.metrics.summary import AttackSummary
from cam_adv.runtime.run_dir import MULTIRUN_CONFIG
from cam_adv.sweep.record import JobRecord, Status, read_json, unreadable
from cam_adv.sweep.registry import recorded_jobs


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        folder: its path in the sweep's folder; empty if it has none.
        reason: why it failed, and what to do.
        values: the value of each overridden key.
        summary: None if no attack has finished.
    """

    folder: str
    number: int
    status: Status
    reason: str | None
    values: Mapping[str, Value]
    summary: AttackSummary | None


@dataclass(frozen=True)
class Sweep:
    """All jobs in the order of their numbers, those that have not begun included.

    keys: the overridden keys that take several values.
    figure: whether the sweep's config lets figures be drawn.
    """

    folder: Path
    keys: tuple[str, ...]
    jobs: tuple[Job, ...]
    figure: bool = True

    @property
    def results(self) -> list[tuple[Job, AttackSummary]]:
        """The jobs with a result, without those that failed after they had written it."""
        return [(job, job.summary) for job in self.jobs if job.summary and job.status != "failed"]

    @property
    def without_result(self) -> list[Job]:
        """The other jobs."""
        return [job for job in self.jobs if not job.summary or job.status == "failed"]


def read_sweep(folder: Path) -> Sweep:
    """The jobs in the folder of a sweep, which may still be running.

    Raises:
        UserError: it is not the folder of a sweep, or a file of a job can't be read.
    """
    recorded = list(recorded_jobs(folder))
    if not recorded:
        what = "holds no job of a sweep" if folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}.",
            "Give the folder of one sweep: outputs/multirun/<name>/<date>, as cam-adv -m printed it.",
        )
    jobs = sorted((_read_job(folder, *one) for one in recorded), key=lambda job: (job.number, job.folder))
    config = _config(folder)
    has_figure = OmegaConf.select(config, "figures") is not False
    return Sweep(folder, tuple(_varied_keys(jobs, _planned_keys(config))), tuple(jobs), has_figure)


def swept_overrides(folder: str, overrides: Iterable[str], default: str) -> str:
    """Those of a job's overrides that the sweep in `folder` gives several values; `default` if there is none."""
    keys = set(_planned_keys(_config(Path(folder))))
    return ",".join(text for text in overrides if not keys.isdisjoint(parse_overrides([text]))) or default


def format_value(value: Value) -> str:
    """A value as it is written on a command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_job(sweep: Path, record: JobRecord, folder: Path | None) -> Job:
    path = folder / "summary.json" if folder else None
    summary = _read_summary(path) if path and path.exists() else None
    name = os.path.relpath(folder, sweep) if folder else ""
    return Job(name, record.number, record.status, record.explanation, parse_overrides(record.overrides), summary)


def _read_summary(path: Path) -> AttackSummary:
    try:
        return AttackSummary.of(read_json(path))
    except (KeyError, TypeError) as error:
        raise unreadable(path) from error


def _varied_keys(jobs: Iterable[Job], planned: Iterable[str]) -> list[str]:
    """Keys whose values differ between jobs, and planned ones: after a sweep's first job, no value differs yet."""
    values_of: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in job.values.items():
            values_of.setdefault(key, set()).add(format_value(value))
    return [key for key, values in values_of.items() if len(values) > 1 or key in set(planned)]


def _config(folder: Path) -> DictConfig | ListConfig:
    """The config of the whole sweep; empty if the folder has none."""
    path = folder / MULTIRUN_CONFIG
    return OmegaConf.load(path) if path.exists() else OmegaConf.create()


def _planned_keys(config: DictConfig | ListConfig) -> list[str]:
    """Keys with several values on the command line of the sweep."""
    return swept_keys(OmegaConf.select(config, "hydra.overrides.task", default=[]))
