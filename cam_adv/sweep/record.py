"""`job.json`: the overrides of a sweep's job and how it ended."""

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cam_adv.errors import UserError, in_one_line
from cam_adv.runtime.atomic_files import write_atomically, write_json
from cam_adv.runtime.run_dir import JOB_FILE

TRACEBACK_FILE = "traceback.txt"
Status = Literal["finished", "failed", "unfinished"]


@dataclass(frozen=True)
class JobRecord:
    """The record of one job of a sweep.

    Attributes:
        number: of the job in its sweep.
        overrides: as on a command line, including those that all jobs share.
        status: a running or a killed job is unfinished.
        reason: why it failed.
        objective: what a finished job returned to the sweeper.
    """

    number: int
    overrides: tuple[str, ...]
    status: Status = "unfinished"
    reason: str | None = None
    objective: float | None = None

    @classmethod
    def of(cls, number: int, overrides: Sequence[str]) -> "JobRecord":
        """The record of a new job. An override of `resume` is left out: it concerns the sweep, not the job."""
        return cls(number, tuple(text for text in overrides if not text.lstrip("+").startswith("resume=")))

    def write(self, folder: Path) -> None:
        write_json(folder / JOB_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "JobRecord":
        """The record in a job's folder.

        Raises:
            UserError: the file is not such a record.
        """
        content = read_json(folder / JOB_FILE)
        try:
            record = cls(**content)
            return replace(record, overrides=tuple(record.overrides))
        except TypeError as error:
            raise unreadable(folder / JOB_FILE) from error

    def track(self, folder: Path, job: Callable[[], float | None]) -> float | None:
        """Run the job and record in its folder how it ends; returns its objective."""
        started = replace(self, status="unfinished", reason=None)
        started.write(folder)
        (folder / TRACEBACK_FILE).unlink(missing_ok=True)
        try:
            objective = job()
        except Exception as error:
            replace(started, status="failed", reason=in_one_line(error)).write(folder)
            if not isinstance(error, UserError):
                # Hydra prints the traceback of the first failure only.
                write_atomically(folder / TRACEBACK_FILE, "".join(traceback.format_exception(error)))
            raise
        replace(started, status="finished", objective=objective).write(folder)
        return objective


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> UserError:
    """The error for a file of a job that has not the expected content."""
    return UserError(f"{path} can't be read.", "Remove its folder from the sweep, or restore the file.")
