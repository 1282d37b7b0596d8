"""Errors that pydantic finds in a config, as two sentences."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from cam_adv.errors import UserError

COMPONENT = "component"
"""Type of the error that a component of the config raises itself; its context holds `what` and `remedy`."""

UNKNOWN_KEY = " is no key of this config."
"""End of the first sentence about a key that the schema does not have; the key's path stands before it."""


def explain_validation_error(error: ValidationError, values: Mapping[str, Any], prefix: str = "") -> UserError:
    """The first error; where a value may be of several types, the requirements of all of them.

    Args:
        values: what was validated.
        prefix: path of `values` in the config, with a dot at its end; empty for the whole config.
    """
    errors = error.errors()
    first = errors[0]
    path = prefix + _config_path(first["loc"], values)
    if first["type"] == COMPONENT:
        return _with_path(first["ctx"], path)
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):
        return UserError(
            f"{path}={first['input']} can't be used: its item {first['loc'][-1]} is missing.",
            f"Give {path} all of its items.",
        )
    if first["type"] == "missing":
        return UserError(f"{path} is missing.", f"Add it with +{path}=VALUE.")
    if first["type"] == "extra_forbidden":
        return UserError(f"{path}{UNKNOWN_KEY}", f"Remove {path}.")
    of_this_value = [other for other in errors if prefix + _config_path(other["loc"], values) == path]
    required = " or ".join(dict.fromkeys(_requirement(other["msg"]) for other in of_this_value))
    return UserError(
        f"{path}={first['input']} can't be used: it should be {required}.", f"Set {path} to such a value."
    )


def nearest(word: str, choices: Collection[str]) -> str:
    """The end of a remedy, ", or write …", where a choice has a similar spelling; else an empty text."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f", or write {close[0]}" if close else ""


def _with_path(context: Mapping[str, Any], path: str) -> UserError:
    """The error of a component at this path of the config.

    A component names itself by its section, such as `attack`; elsewhere `attack.norm` is written as
    `study.attacks.pgd.norm`, and `attack=pgd` as `attack@study.attacks.pgd=pgd`.
    """
    section = context["section"]
    texts = [context["what"], context["remedy"]]
    if path != section:
        named = rf"(?<![\w.@]){re.escape(section)}"  # import paths may have a part of the section's name
        texts = [re.sub(rf"{named}(?=\.\w)", path, text) for text in texts]
        texts = [re.sub(rf"{named}=", f"{section}@{path}=", text) for text in texts]
    return UserError(*texts)


def _requirement(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ").split(", unable to parse")[0]


def _config_path(location: tuple[int | str, ...], values: Mapping[str, Any]) -> str:
    """Pydantic's location as a path of the config, without the names of a union's branches."""
    node: Any = values
    path: list[str] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if _has(node, part):
            node = node[part]
        elif not (last and isinstance(node, Mapping)):
            continue
        path.append(str(part))
    return ".".join(path)


def _has(node: Any, part: int | str) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, Mapping) and part in node
