"""Errors that the user can correct."""

from collections.abc import Mapping
from typing import Any


class UserError(Exception):
    """An error that the user can correct: one sentence for the problem, and one for the remedy.

    The command line prints both and exits with code 2; with `debug=true` it also prints the traceback.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        # Without this, unpickling in another process would call UserError with the joined message alone.
        return type(self), (self.what, self.remedy)


def in_one_line(error: Exception) -> str:
    """The sentences of a `UserError`, or the kind and the message of any other error, as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def config_text(value: Any) -> str:
    """A value as a config spells it: null, true, [a,b]."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{config_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(config_text, value)) + "]"
    return {None: "null", True: "true", False: "false"}[value] if isinstance(value, bool | None) else str(value)
