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
from cam_adv.runtime.shutdown import describe_os_error

TRACEBACK_FILE = "traceback.txt"
Status = Literal["finished", "failed", "unfinished", "not started"]


@dataclass(frozen=True)
class JobRecord:
    """The record of one job of a sweep.

    Attributes:
        number: of the job in its sweep.
        overrides: as on a command line, including those that all jobs share.
        status: a running or a killed job is unfinished.
        reason: why it failed. remedy: what to do, if the user can correct it.
        objective: what a finished job returned to the sweeper.
    """

    number: int
    overrides: tuple[str, ...]
    status: Status = "unfinished"
    reason: str | None = None
    remedy: str | None = None
    objective: float | None = None

    @classmethod
    def of(cls, number: int, overrides: Sequence[str]) -> "JobRecord":
        """The record of a new job. Overrides of `from` and `resume` are left out: they are the sweep's."""
        return cls(number, tuple(text for text in overrides if not text.lstrip("+").startswith(("from=", "resume="))))

    def write(self, folder: Path) -> None:
        write_json(folder / JOB_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "JobRecord":
        """The record in a job's folder.

        Raises:
            UserError: the file is not such a record.
        """
        try:
            return cls.from_json(read_json(folder / JOB_FILE))
        except TypeError as error:
            raise unreadable(folder / JOB_FILE) from error

    @classmethod
    def of_folder(cls, folder: Path) -> "JobRecord | None":
        """The record in a folder; None if it has none. See `read`."""
        return cls.read(folder) if (folder / JOB_FILE).exists() else None

    @classmethod
    def from_json(cls, content: Any) -> "JobRecord":
        """
        Raises:
            TypeError: the content is not that of a record.
        """
        record = cls(**content)
        return replace(record, overrides=tuple(record.overrides))

    def failed(self, error: Exception) -> "JobRecord":
        """This record with an error as the reason."""
        words = (error.what, error.remedy) if isinstance(error, UserError) else describe_os_error(error)
        reason, remedy = words or (in_one_line(error), None)
        return replace(self, status="failed", reason=" ".join(reason.split()), remedy=remedy)

    @property
    def explanation(self) -> str | None:
        """The reason and the remedy in one line."""
        return " ".join(filter(None, (self.reason, self.remedy))) or None

    def track(self, folder: Path, job: Callable[[], float | None]) -> float | None:
        """Run the job and record in its folder how it ends; returns its objective."""
        started = replace(self, status="unfinished", reason=None, remedy=None)
        started.write(folder)
        (folder / TRACEBACK_FILE).unlink(missing_ok=True)
        try:
            objective = job()
        except Exception as error:
            failed = started.failed(error)
            if failed.remedy is None:
                write_atomically(folder / TRACEBACK_FILE, "".join(traceback.format_exception(error)))
            failed.write(folder)
            raise
        replace(started, status="finished", objective=objective).write(folder)
        return objective


OF_JOB = "Remove its folder from the sweep, or restore the file."
"""What to do about a file of a job that can't be read."""


def read_json(path: Path, remedy: str = OF_JOB) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise unreadable(path, remedy) from error


def unreadable(path: Path, remedy: str = OF_JOB) -> UserError:
    """The error for a file of a sweep that has not the expected content."""
    return UserError(f"{path} can't be read.", remedy)
