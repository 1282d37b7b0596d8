"""The overrides of a command line as keys and values."""

import math
from collections.abc import Iterable

from hydra.core.override_parser.types import Override

from cam_adv.runtime.quoting import grammar

Value = int | float | bool | str | None


def parse_overrides(overrides: Iterable[str]) -> dict[str, Value]:
    """The value of each key; lists, mappings and interpolations as text, as they were written."""
    return {_key(override): _value(override) for override in _parsed(overrides)}


def swept_keys(overrides: Iterable[str]) -> list[str]:
    """The keys that a sweep gives several values, as in `attack=a,b` and `seed=range(3)`."""
    return [_key(override) for override in _parsed(overrides) if override.is_sweep_override()]


def _parsed(overrides: Iterable[str]) -> list[Override]:
    return grammar().parse_overrides(list(overrides))


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+")


def _value(override: Override) -> Value:
    value = override.value()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return override.get_value_string()
