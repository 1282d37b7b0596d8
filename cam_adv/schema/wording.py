"""Errors that pydantic finds in a config, as two sentences."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cam_adv.errors import UserError, config_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

COMPONENT = "component"
"""Type of the error that a component of the config raises itself; its context holds `what` and `remedy`."""

KEY = "[key]"
"""End of pydantic's location of a key that is wrong itself."""

REQUIREMENTS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping of keys to values",
    "int_from_float": "a valid integer",
    "int_parsing_size": "a smaller number",
    "model_type": "a mapping of keys to values",
    "path_type": "a path, such as \"{path}='{value}'\"",
    "string_type": "a text, such as \"{path}='{value}'\"",
    "too_long": "a list or a mapping of length {max_length} or less",
    "too_short": "a list or a mapping of length {min_length} or more",
    "tuple_type": "a valid list",
}
"""Pydantic's requirements in other words, by the type of its error, where its own don't follow "it should be"."""

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
    location = first["loc"]
    if not location:  # the section as a whole, by a validator of a user's class
        section = prefix.removesuffix(".") or "the config"
        return UserError(
            f"{section} can't be used: {first['msg'].removeprefix('Value error, ').rstrip('.')}.",
            f"Correct {section}.",
        )
    if location[-1] == KEY:
        path = prefix + _config_path(location[:-1], values)
        return UserError(
            f"{path} can't be used: its name should be {_requirement(first, path)}.",
            f"Give {path} such a name, or remove it.",
        )
    path = prefix + _config_path(location, values)
    if first["type"] == COMPONENT:
        return _with_path(first["ctx"], path)
    if first["type"] == "missing" and isinstance(location[-1], int):
        return UserError(
            f"{path}={config_text(first['input'])} can't be used: its item {location[-1]} is missing.",
            f"Give {path} all of its items.",
        )
    if first["type"] == "missing":
        return UserError(f"{path} is missing.", f"Add it with +{path}=VALUE.")
    if first["type"] == "extra_forbidden":
        return UserError(f"{path}{UNKNOWN_KEY}", f"Remove {path}.")
    of_this_value = [other for other in errors if prefix + _config_path(other["loc"], values) == path]
    required = " or ".join(dict.fromkeys(_requirement(other, path) for other in of_this_value))
    return UserError(
        f"{path}={config_text(first['input'])} can't be used: it should be {required}.",
        f"Set {path} to such a value.",
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


def _requirement(error: "ErrorDetails", path: str) -> str:
    """What a value should be, to follow "it should be"."""
    if error["type"] in REQUIREMENTS:
        return REQUIREMENTS[error["type"]].format(path=path, value=error["input"], **error.get("ctx", {}))
    requirement = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return requirement.split(", unable to parse")[0].replace("True, False", "true, false")


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
