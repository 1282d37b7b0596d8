"""Sections of the config that are instances of a class named by `_target_`: attacks, studies, trainings."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from pydantic import BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from cam_adv.errors import UserError
from cam_adv.schema.fields import StrictModel
from cam_adv.schema.wording import COMPONENT, explain_validation_error, nearest

HYDRA_KEYS = ("_target_", "_convert_", "_recursive_", "_partial_")
FILLED_IN = ("in_channels", "num_classes", "image_size")
"""Arguments of a `network` that the dataset determines; they are passed where its signature has them."""

AnyComponent = TypeVar("AnyComponent", bound="Component")


class Component(StrictModel):
    """A class whose fields are the keys of its section of the config, with the same checks in Python.

    section: path of such a component in the shipped config, which its error messages use.
    """

    section: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        """
        Raises:
            UserError: a value is missing, unknown, of another type or out of range; or a `_target_` among the values
                can't be imported or doesn't take its arguments.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain_validation_error(error, values, f"{self.section}.") from error
        check_targets({self.section: values})


def built(base: type[AnyComponent]) -> BeforeValidator:
    """Validator: builds the component that a mapping with a `_target_` describes, and leaves a component as it is."""

    def build(value: Any) -> Any:
        if isinstance(value, base):
            return value
        try:
            return make_component(base, value)
        except UserError as error:
            context = {"what": error.what, "remedy": error.remedy, "section": base.section}
            raise PydanticCustomError(COMPONENT, "{what}", context) from error

    return BeforeValidator(build)


def instantiated(node: Mapping[str, Any], **further: Any) -> Any:
    """What a mapping with a `_target_` makes, with further arguments.

    Raises:
        UserError: that of its class or function, which Hydra would wrap in an error of its own.
    """
    try:
        return instantiate(node, **further)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def make_component(base: type[AnyComponent], node: Any) -> AnyComponent:
    """The component that a mapping with a `_target_` describes.

    Raises:
        UserError: there is no `_target_`, it can't be imported, is no subclass of `base`, or its values are wrong.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(
            f"{base.section}._target_ is missing.",
            f"Give the import path of a class of {base.__module__}.{base.__name__}.",
        )
    target = node["_target_"]
    found = find_target(base.section, target)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(
            f"{base.section}._target_={target} is no {base.__name__}.",
            f"Give a subclass of {base.__module__}.{base.__name__}.",
        )
    return found(**{key: value for key, value in node.items() if key not in HYDRA_KEYS})


def find_target(path: str, target: Any) -> Any:
    """Import the class or function that a `_target_` names.

    Args:
        path: of the node in the config.

    Raises:
        UserError: it can't be imported, or can't be called.
    """
    try:
        found = get_object(target)
    except Exception as error:  # importing a user's module may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[-1].rstrip(".?")
        raise UserError(
            f"{path}._target_={target} can't be imported: {reason}.",
            f"Give the import path of a class or function, package.module.Name{_nearest_target(target)}.",
        ) from error
    if not callable(found):
        raise UserError(
            f"{path}._target_={target} can't be called: it is a {type(found).__name__}.",
            "Give the import path of a class or function, package.module.Name.",
        )
    return found


def check_targets(values: Mapping[str, Any]) -> None:
    """Import each `_target_` of a config and compare its arguments with its signature.

    Raises:
        UserError: it can't be imported, or doesn't take these arguments.
    """
    for path, node in _nodes_with_target(values, ""):
        target = node["_target_"]
        found = find_target(path, target)
        if isinstance(found, type) and issubclass(found, Component):
            continue  # it checks its arguments itself
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):  # some builtins have no signature
            continue
        arguments = [name for name in node if name not in HYDRA_KEYS]
        parameters = list(signature.parameters)
        any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
        for name in arguments:
            if name not in parameters and not any_keyword:
                raise UserError(
                    f"{path}.{name} is no argument of {target}, which takes {', '.join(parameters) or 'none'}.",
                    f"Remove it{nearest(name, parameters)}.",
                )
        for name, parameter in signature.parameters.items():
            if node.get("_partial_", False) and parameter.kind is not parameter.KEYWORD_ONLY:
                continue  # may be passed in the call
            required = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            )
            filled_in = name in FILLED_IN and path.endswith(".network")
            if required and name not in arguments and not filled_in:
                raise UserError(
                    f"{path}.{name}, which {target} needs, is missing.", f"Add it with +{path}.{name}=VALUE."
                )


def _nodes_with_target(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a `_target_`, with its path."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, child in node.items():
            yield from _nodes_with_target(child, f"{path}.{key}" if path else str(key))


def _nearest_target(target: Any) -> str:
    """The end of a remedy, ", or write …", where the module exists and has a similar name; else an empty text."""
    module, _, name = str(target).rpartition(".")
    found = sys.modules.get(module)  # `get_object` has imported it
    return nearest(name, vars(found)).replace(", or write ", f", or write {module}.") if found else ""
