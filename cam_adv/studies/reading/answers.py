"""The files that readers download from the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from cam_adv.data.human_labels import NOTHING
from cam_adv.errors import UserError
from cam_adv.schema.fields import Integer, NotNegative, StrictModel
from cam_adv.studies.reading.key import Key

DOWNLOAD = "Give the JSON file that the page of this run downloads at its end, unchanged."


class _Answer(StrictModel):
    """picture: its position on the page. answer: a class, or −1. ms: how long the picture was in view."""

    picture: Integer
    answer: Integer
    ms: NotNegative


class _AnswersFile(StrictModel):
    digest: str
    reader: str
    answers: tuple[_Answer, ...]


@dataclass(frozen=True)
class Reader:
    """What one person saw.

    name: as given on the page; that of the file where none was given.
    answer: a class for each position of the page, −1 for none of them, `(n,)` int64.
    seconds: how long each took, `(n,)`.
    """

    name: str
    answer: Tensor
    seconds: Tensor


def read_answers(files: Sequence[Path], key: Key, digest: str) -> list[Reader]:
    """Read the answers of one or more readers.

    Args:
        digest: of the key.

    Raises:
        UserError: a file is no file of answers, belongs to another page, is incomplete, names pictures or classes
            that don't exist, or is of the same reader as another.
    """
    readers: dict[str, tuple[Path, Reader]] = {}
    for file in files:
        reader = _read(file, key, digest)
        for other, before in readers.values():
            if torch.equal(before.answer, reader.answer) and torch.equal(before.seconds, reader.seconds):
                raise UserError(f"{file} has the same answers as {other}.", "Give the file of each reader once.")
        other, _ = readers.setdefault(reader.name.casefold(), (file, reader))
        if other != file:
            raise UserError(
                f"{file} and {other} are both of the reader {reader.name}.",
                'Leave one out, or write different names behind "reader" in them if they are of two people.',
            )
    return [reader for _, reader in readers.values()]


def _read(file: Path, key: Key, digest: str) -> Reader:
    """One file."""
    content = _parse(file)
    if content.digest != digest:
        raise UserError(
            f"{file} answers another page than that of this run: its digest begins with {content.digest[:12]}, this "
            f"run's with {digest[:12]}.",
            "Give the run whose page was answered.",
        )
    count, classes = len(key.pictures), len(key.class_names)
    answer = torch.full((count,), NOTHING)
    seconds = torch.full((count,), torch.nan)
    for one in content.answers:
        if not 0 <= one.picture < count:
            raise UserError(f"{file} answers picture {one.picture}, but the page has {count}, from 0 on.", DOWNLOAD)
        if not seconds[one.picture].isnan():
            raise UserError(f"{file} answers picture {one.picture} twice.", DOWNLOAD)
        if one.answer != NOTHING and not 0 <= one.answer < classes:
            raise UserError(
                f"{file} says that picture {one.picture} shows class {one.answer}, but there are only the classes "
                f"from 0 to {classes - 1}, and {NOTHING} for none of them.",
                DOWNLOAD,
            )
        answer[one.picture] = one.answer
        seconds[one.picture] = one.ms / 1000
    answered = count - int(seconds.isnan().sum())
    if answered < count:
        raise UserError(
            f"{file} answers {answered} of {count} pictures.",
            "Open the page again where it was begun: that browser has kept the answers, and goes on after them.",
        )
    return Reader(content.reader.strip() or file.stem, answer, seconds)


def _parse(file: Path) -> _AnswersFile:
    try:
        return _AnswersFile.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}.", "Give files that exist in answers.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise UserError(f"{file} is no file of answers ({reason}).", DOWNLOAD) from error
