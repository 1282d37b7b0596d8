"""Names of classes: the order in which they are numbered, and which class a name or a number in the config means."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

from cam_adv.errors import UserError
from cam_adv.schema.wording import nearest

NUMBER = r"-?\d+(?:\.\d+)?"

NAMES_IN_MESSAGE = 20
"""Largest number of names in a message."""


def composed(name: str) -> str:
    """A name with each accented letter as one character; macOS stores the accents of file names apart."""
    return unicodedata.normalize("NFC", name)


def numeric_order(name: str) -> tuple[list[str | Decimal], str]:
    """Sort key of a name: the numbers in it are compared as numbers, so that "10" comes after "9", not after "1"."""
    parts = re.split(rf"(^{NUMBER}$|\d+)", composed(name))  # a text, a number, a text, …
    return [Decimal(part) if position % 2 else part for position, part in enumerate(parts)], name


def are_chosen_by_name(class_names: Sequence[str]) -> bool:
    """Whether a class is called by another number than its position, so that numbers can't mean positions."""
    return any(_number(name) not in (None, position) for position, name in enumerate(class_names))


def class_number(path: str, value: int | str, class_names: Sequence[str], dataset: str) -> int:
    """The position of the class that the config means: the one of this name, or else the one at this position.

    Args:
        path: of the value in the config, for messages.
        value: "7" is the same as 7.
        dataset: its name, for messages.

    Raises:
        UserError: there is no such class, or several have the name.
    """
    names, text = [composed(name) for name in class_names], composed(str(value))
    number, by_name, last = _number(text), are_chosen_by_name(class_names), len(class_names) - 1
    found = [position for position, name in enumerate(names) if name == text]
    if not found and number is not None:
        found = [position for position, name in enumerate(names) if _number(name) == number]
    if len(found) > 1:
        same = len({names[position] for position in found}) == 1
        written = [f"{path}={one}" if same else f"\"{path}='{names[one]}'\"" for one in found]
        raise UserError(f"{path}={value} means several classes of {dataset}.", f"Write {' or '.join(written)}.")
    if found:
        return found[0]
    if text.isdecimal() and not by_name:
        if int(text) <= last:
            return int(text)
        raise UserError(f"{path}={value}, but {dataset} has no such class.", f"Choose a class from 0 to {last}.")
    raise UserError(
        f"{path}={value}, but {dataset} has no class of this name.",
        f"Choose from {listed(names)}{'' if by_name else f', or a number from 0 to {last}'}{nearest(text, names)}.",
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMES_IN_MESSAGE} more" if len(names) > NAMES_IN_MESSAGE else ""
    return f"{', '.join(names[:NAMES_IN_MESSAGE])}{more}"


def _number(name: str) -> Decimal | None:
    return Decimal(name) if re.fullmatch(NUMBER, name) else None
