"""`job.json`: what a job of a sweep was asked, and how it ended."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cam_adv.errors import UserError
from cam_adv.writing import write_whole

NAME = "job.json"
Status = Literal["finished", "failed", "unfinished"]


@dataclass(frozen=True)
class Record:
    """One job of a sweep.

    number: of the job in its sweep. overrides: as on a command line, those that all jobs share among them.
    status: a job that runs is as unfinished as one that was killed. reason: why it failed.
    """

    number: int
    overrides: tuple[str, ...]
    status: Status = "unfinished"
    reason: str | None = None

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
            return cls(record.number, tuple(record.overrides), record.status, record.reason)
        except TypeError as error:
            raise unreadable(folder / NAME) from error


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
