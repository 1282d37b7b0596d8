"""Overrides as they are written on a command line: with quotes for Hydra, and with quotes for the shell."""

import re
import shlex
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


@cache
def grammar() -> OverridesParser:
    """Hydra's parser of overrides."""
    return OverridesParser.create()


def quoted(text: str) -> str:
    """A text as a value of an override, whatever is in it."""
    return QuotedString(text, Quote.double if "'" in text else Quote.single).with_quotes()


def quote_override(override: str) -> str | None:
    """The override with quotes for Hydra around its texts, and with quotes for the shell around it all.

    In a list or a mapping, only texts that Hydra can't read without quotes get them.

    Returns:
        None where it can't be read even so.
    """
    key, equals, value = override.partition("=")
    if not equals or "${" in value:
        return None
    if value[:1] in ("[", "{"):
        value = re.sub(r"[^\[\]{},:\s'\"][^\[\]{},:'\"]*", lambda text: _quoted_if_needed(text[0]), value)
    else:
        value = quoted(value)
    if not _can_be_read(f"{key}={value}"):
        return None
    override = f"{key}={value}"
    return shlex.quote(override) if re.search(r'["$`\\!]', override) else f'"{override}"'


def written(key: str, text: str) -> str:
    """`key=text` as it is typed into a shell, with quotes for Hydra where it would read something else."""
    plain = f"{key}={text}"
    if _can_be_read(plain) and grammar().parse_override(plain).value() == text:
        return shlex.quote(plain)
    return quote_override(plain) or shlex.quote(f"{key}={quoted(text)}")


def for_shell(override: str) -> str:
    """An override as a shell takes it: in double quotes where it has single ones, if they leave it as it is."""
    if "'" in override and not re.search(r'["$`\\!]', override):
        return f'"{override}"'
    return shlex.quote(override)


def _quoted_if_needed(text: str) -> str:
    return text if _can_be_read(f"key={text}") else quoted(text)


def _can_be_read(override: str) -> bool:
    try:
        grammar().parse_override(override)
    except HydraException:
        return False
    return True
