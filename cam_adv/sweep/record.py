"""`job.json`: what a job of a sweep was asked, and how it ended."""

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cam_adv.errors import UserError
from cam_adv.run_folder import RECORD as NAME
from cam_adv.writing import write_whole

TRACEBACK = "traceback.txt"
Status = Literal["finished", "failed", "unfinished"]


@dataclass(frozen=True)
class Record:
    """One job of a sweep.

    number: of the job in its sweep. overrides: as on a command line, those that all jobs share among them.
    status: a job that runs is as unfinished as one that was killed. reason: why it failed.
    objective: what a finished one returned to the sweep's sampler.
    """

    number: int
    overrides: tuple[str, ...]
    status: Status = "unfinished"
    reason: str | None = None
    objective: float | None = None

    @classmethod
    def of(cls, number: int, overrides: Sequence[str]) -> "Record":
        """A new job's record; that a sweep was resumed is nothing that its jobs were asked."""
        return cls(number, tuple(text for text in overrides if not text.lstrip("+").startswith("resume=")))

    def write(self, folder: Path) -> None:
        write_whole(folder / NAME, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record in a job's folder.

        Raises:
            UserError: it is no such record.
        """
        content = read_json(folder / NAME)
        try:
            record = cls(**content)
            return replace(record, overrides=tuple(record.overrides))
        except TypeError as error:
            raise unreadable(folder / NAME) from error

    def keep(self, folder: Path, job: Callable[[], float | None]) -> float | None:
        """Do the job, and keep in its folder how it ends."""
        anew = replace(self, status="unfinished", reason=None)
        anew.write(folder)
        (folder / TRACEBACK).unlink(missing_ok=True)
        try:
            objective = job()
        except Exception as error:
            replace(anew, status="failed", reason=_in_one_line(error)).write(folder)
            if not isinstance(error, UserError):
                # Hydra shows the traceback of the first failure only.
                write_whole(folder / TRACEBACK, "".join(traceback.format_exception(error)))
            raise
        replace(anew, status="finished", objective=objective).write(folder)
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
    """The error that a file of a job isn't what it should be."""
    return UserError(f"{path} can't be read.", "Remove its folder from the sweep, or restore the file.")


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")
