"""Errors of Hydra and OmegaConf about a command line, as two sentences."""

import difflib
import re
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from cam_adv.config.composition import compose
from cam_adv.config.renamed_keys import renamed, renamed_choice
from cam_adv.errors import UserError
from cam_adv.runtime.quoting import quote_override

EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/sampler/tpe": "optuna",
}
"""Configs that other packages provide, and the extra of this package that installs each."""


def explain_config_error(error: BaseException, overrides: Sequence[str]) -> tuple[str, str]:
    """What is wrong with the overrides of a command, and what to do."""
    for cause in _causes(error):
        if isinstance(cause, UserError):  # raised by a resolver, and wrapped by OmegaConf
            return cause.what, cause.remedy
    text = str(error)
    if isinstance(error, OverrideParseException):
        written = quote_override(error.override)
        return (
            f"The override {error.override} can't be read.",
            f"Write {written}." if written else "Write key=value, and close each bracket and each quotation mark.",
        )
    if several := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", text):
        written = quote_override(several[1]) if "," in several[1] and text.startswith("Ambiguous") else None
        return (
            f"The override {several[1]} gives several values, which only a sweep takes.",
            f"Add -m for a sweep{f', or write {written} for one value with a comma' if written else ''}.",
        )
    if present := re.search(r"Could not append to config\. An item is already at '([^']+)'", text):
        written = next((one for one in overrides if one.startswith(f"+{present[1]}=")), f"{present[1]}=VALUE")
        return f"{present[1]} is a key of this config already.", f"Write {written.lstrip('+')} without the +."
    if other := re.search(r"Could not delete from config\. The value of '([^']+)' is", text):
        return f"{text.splitlines()[0].rstrip('.')}.", f"Write ~{other[1]} without a value."
    if unknown := re.search(
        r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete from config\. '([^']+)' does not", text
    ):
        path = next(filter(None, unknown.groups()))
        inside = [str(cause.full_key) for cause in _causes(error) if isinstance(cause, ConfigKeyError)]
        # A mapping that was given as a whole may have an unknown key inside it.
        return _unknown_key(next((key for key in inside if key.startswith(f"{path}.")), path), overrides)
    unknown_group = re.search(r"Override [+~]*(\S+?)=.* config group '[^']+' does not exist", text)
    if unknown_group and (words := renamed(unknown_group[1], overrides)):
        return words
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing and (words := _missing_extra(missing[1]) or renamed_choice(missing[1], overrides)):
        return words
    if choice := re.search(
        r"Could not find '([^']+)'.*?Available options in '([^']+)':\s*(.*?)\s*Config search", text, re.S
    ):
        options = ", ".join(choice[3].split())
        return f"There is no config {choice[1]}.", f"Choose {choice[2]} from {options}."
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{first.rstrip('.')}.", " ".join(rest) or "See cam-adv --help."


def explain_override_error(error: Exception) -> tuple[str, str] | None:
    """What to say about an error that Hydra raised while it composed the config; None for any later error."""
    if all(frame.name != "compose_config" for frame in traceback.extract_tb(error.__traceback__)):
        return None
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return f"These overrides can't be used: {reason}.", "See cam-adv --help for the choices, --cfg job for the keys."


def _missing_extra(config: str) -> tuple[str, str] | None:
    """The problem and its remedy for a config that is missing because its extra is; None for other configs."""
    if config not in EXTRAS:
        return None
    return f"{config} comes with another package.", f"Install it with pip install 'cam-adv[{EXTRAS[config]}]'."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The chain of causes of an error, the latest first."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _unknown_key(path: str, overrides: Sequence[str]) -> tuple[str, str]:
    """What to say about an unknown key: its new name, the studies that have it, or a key with a similar spelling."""
    key = path.split("@")[-1]
    if words := renamed(path, overrides):
        return words
    common, by_study = _keys()
    if studies := [f"study={study}" for study, keys in by_study.items() if key in keys]:
        *others, last = studies
        choices = f"{', '.join(others)} or {last}, which have it" if others else f"{last}, which has it"
        return f"There is no key {path} in this config.", f"Choose {choices}."
    # The default choices may have the key itself where those of the command, such as its attack, do not.
    known = common.union(*by_study.values()) - {key}
    close = difflib.get_close_matches(key, known, n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"There is no key {path}.", f"{guess}See all keys with cam-adv --cfg job."


@cache
def _keys() -> tuple[set[str], dict[str, set[str]]]:
    """The keys of the default config, and by study those that come with each shipped study, as dotted paths."""
    folder = resources.files("cam_adv.conf") / "study"
    names = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
    configs = {name: compose(name=name) for name in ("config", *(f"study/{name}" for name in names))}
    keys = {name: set(_paths(OmegaConf.to_container(config, resolve=False))) for name, config in configs.items()}
    return keys["config"], {name: keys[f"study/{name}"] for name in names}


def _paths(node: Any, prefix: str = "") -> list[str]:
    """Every key of a nested mapping as a dotted path."""
    if not isinstance(node, dict):
        return []
    return [path for key, child in node.items() for path in (f"{prefix}{key}", *_paths(child, f"{prefix}{key}."))]
