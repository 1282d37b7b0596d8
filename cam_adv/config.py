"""From Hydra's config to checked settings: whatever is wrong is said in two sentences, before any work."""

import difflib
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from cam_adv.errors import UserError
from cam_adv.settings import Settings

OFFERED_TO_NETWORKS = ("in_channels", "num_classes", "image_size")
"""Arguments that a network gets from the dataset where its signature takes them."""


def settings_from(config: DictConfig) -> Settings:
    """Check a composed config: types, ranges, choices, combinations and the arguments of each `_target_`.

    Raises:
        UserError: the first thing that is wrong, with its path, its value and what to put there.
    """
    plain = _plain(config)
    try:
        settings = Settings.model_validate(plain)
    except ValidationError as error:
        raise _in_words(error, plain) from error
    check_targets(plain)
    return settings


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        raise UserError(
            f"{error.full_key} has no value.", f"Set it, for instance with {error.full_key}=VALUE."
        ) from error
    except OmegaConfBaseException as error:
        raise UserError(
            f"The config can't be resolved: {str(error).splitlines()[0]}.", "Mend the ${…} in that value."
        ) from error


def _in_words(error: ValidationError, plain: Mapping[str, Any]) -> UserError:
    """The first fault; where a value may be of several kinds, what each of them asks for."""
    faults = error.errors()
    if faults[0]["type"].startswith("union_tag"):  # which settings a section has depends on one of its keys
        return _unknown_tag(faults[0], plain)
    path = _config_path(faults[0]["loc"], plain)
    of_this_value = [fault for fault in faults if _config_path(fault["loc"], plain) == path]
    if faults[0]["type"] == "missing":
        return UserError(f"{path} is missing.", f"Add it with +{path}=VALUE.")
    if faults[0]["type"] == "extra_forbidden":
        return UserError(f"{path} is no key of this config.", f"Remove {path}.")
    asked = " or ".join(dict.fromkeys(_requirement(fault["msg"]) for fault in of_this_value))
    return UserError(
        f"{path}={faults[0]['input']} can't be used: it should be {asked}.", f"Set {path} to such a value."
    )


def _unknown_tag(fault: Mapping[str, Any], plain: Mapping[str, Any]) -> UserError:
    """What to say where the key that tells sections of several forms apart is missing or wrong."""
    path = f"{_config_path(fault['loc'], plain)}.{fault['ctx']['discriminator'].strip(chr(39))}"
    if fault["type"] == "union_tag_not_found":
        return UserError(f"{path} is missing.", f"Add it with +{path}=VALUE.")
    choices, tag = fault["ctx"]["expected_tags"], fault["ctx"]["tag"]
    return UserError(f"{path}={tag} can't be used: it should be one of {choices}.", f"Set {path} to such a value.")


def _requirement(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ").split(", unable to parse")[0]


def _config_path(location: tuple[int | str, ...], plain: Mapping[str, Any]) -> str:
    """Pydantic's location as the user would write it: without the names of a union's branches."""
    node: Any = plain
    path: list[str] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if (isinstance(node, Mapping) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]
        elif not (last and isinstance(node, Mapping)):
            continue
        path.append(str(part))
    return ".".join(path)


def check_targets(plain: Mapping[str, Any]) -> None:
    """Find each `_target_` of a config and bind its arguments to its signature.

    Raises:
        UserError: it can't be imported, or doesn't take these arguments.
    """
    for path, node in _nodes_with_target(plain, ""):
        target = node["_target_"]
        try:
            found = get_object(target)
        except Exception as error:  # importing a user's module may raise anything
            reason = (str(error) or type(error).__name__).splitlines()[-1]
            raise UserError(
                f"{path}._target_={target} can't be imported: {reason}.",
                f"Give the import path of a class or function, package.module.Name{_meant(target)}.",
            ) from error
        if not callable(found):
            raise UserError(
                f"{path}._target_={target} can't be called: it is a {type(found).__name__}.",
                "Give the import path of a class or function, package.module.Name.",
            )
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):  # some builtins have none that can be read
            continue
        arguments = [name for name in node if name not in ("_target_", "_convert_", "_recursive_", "_partial_")]
        takes = list(signature.parameters)
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
        for name in arguments:
            if name not in takes and not open_ended:
                raise UserError(
                    f"{path}.{name} is no argument of {target}, which takes {', '.join(takes) or 'none'}.",
                    f"Remove it{nearest(name, takes)}.",
                )
        for name, parameter in signature.parameters.items():
            if node.get("_partial_", False) and parameter.kind is not parameter.KEYWORD_ONLY:
                continue  # comes with the call
            required = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            )
            if required and name not in arguments and name not in OFFERED_TO_NETWORKS:
                raise UserError(
                    f"{path}.{name}, which {target} needs, is missing.", f"Add it with +{path}.{name}=VALUE."
                )


def _nodes_with_target(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, child in node.items():
            yield from _nodes_with_target(child, f"{path}.{key}" if path else str(key))


def _meant(target: Any) -> str:
    """ ", or write …" where the module is there and has something of nearly that name, else nothing."""
    module, _, name = str(target).rpartition(".")
    found = sys.modules.get(module)  # to look for the name has imported it
    close = difflib.get_close_matches(name, vars(found), n=1) if found else []
    return f", or write {module}.{close[0]}" if close else ""


def nearest(word: str, choices: Collection[str]) -> str:
    """ ", or did you mean …" where a choice is spelt nearly so, else nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f", or write {close[0]}" if close else ""
