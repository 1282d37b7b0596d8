"""What a sweep records of its jobs in its own folder: those that are planned, and where each has begun."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cam_adv.runtime.atomic_files import write_json
from cam_adv.runtime.run_dir import JOB_FILE
from cam_adv.sweep.record import JobRecord, read_json, unreadable

REGISTRY = ".jobs"
"""The folder that claims a sweep's folder: no two sweeps make it."""

PLAN = "plan.json"

OF_REGISTRY = "Remove that file, or restore it."
"""What to do about a file in this folder that can't be read."""


def write_plan(sweep: Path, overrides: Sequence[Sequence[str]]) -> None:
    """Record the overrides of all jobs, in the order of their numbers, before the first one begins."""
    jobs = [JobRecord.of(number, job).overrides for number, job in enumerate(overrides)]
    write_json(sweep / REGISTRY / PLAN, jobs)


def register(sweep: Path, record: JobRecord, folder: Path) -> None:
    """Record that a job has begun, or was refused, in `folder`, which may be anywhere and another job's."""
    path = os.path.relpath(folder, sweep)  # so that a sweep can be moved
    write_json(sweep / REGISTRY / f"{record.number}.json", {"folder": path, **asdict(record)})


def has_begun(sweep: Path) -> bool:
    """Whether any job has."""
    return next(_begun(sweep), None) is not None


def recorded_jobs(sweep: Path) -> Iterator[tuple[JobRecord, Path | None]]:
    """The record of each job of a sweep, and its folder: None where it has not begun, or was refused another's.

    Raises:
        UserError: a file can't be read.
    """
    begun = dict(_begun(sweep))
    yield from begun.values()
    plan = sweep / REGISTRY / PLAN
    for number, overrides in enumerate(read_json(plan, OF_REGISTRY) if plan.exists() else []):
        if number not in begun:
            yield JobRecord(number, tuple(overrides), "not started"), None


def _begun(sweep: Path) -> Iterator[tuple[int, tuple[JobRecord, Path | None]]]:
    registered = list(sweep.glob(f"{REGISTRY}/[0-9]*.json"))
    for path in registered:
        content: dict[str, Any] = read_json(path, OF_REGISTRY)
        try:
            folder = Path(os.path.normpath(sweep / content.pop("folder")))
            record = JobRecord.from_json(content)
        except (AttributeError, KeyError, TypeError) as error:
            raise unreadable(path, OF_REGISTRY) from error
        own = JobRecord.of_folder(folder)
        yield record.number, (own, folder) if own and own.number == record.number else (record, None)
    if not registered:  # a sweep of an earlier version
        for path in sweep.glob(f"*/{JOB_FILE}"):
            record = JobRecord.read(path.parent)
            yield record.number, (record, path.parent)
