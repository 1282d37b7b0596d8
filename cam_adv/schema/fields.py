"""Types of the config's values: numbers in ranges, names, nodes to instantiate; and the base of its sections."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


def _no_boolean(kind: str) -> BeforeValidator:
    """Refuses true and false as numbers; pydantic would take them as 1 and 0."""

    def refuse(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"Input should be a valid {kind}")
        return value

    return BeforeValidator(refuse)


def _spelt(pattern: str, requirement: str) -> AfterValidator:
    """Refuses texts that don't match the pattern as a whole."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(requirement)
        return text

    return AfterValidator(check)


Number = Annotated[float, _no_boolean("number")]
Integer = Annotated[int, _no_boolean("integer")]
Share = Annotated[Number, Field(gt=0, lt=1)]
UnitShare = Annotated[Number, Field(gt=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[Integer, Field(ge=1)]
Index = Annotated[Integer, Field(ge=0)]
Seed = Annotated[Integer, Field(ge=0, lt=2**31)]
Name = Annotated[str, _spelt(r"\w[\w.-]*", "a name of letters, digits and _, in which . and - may follow")]
Key = Annotated[str, _spelt(r"\w+", "a name of letters, digits and _")]


def _name_of_class(value: Any, check_number: ValidatorFunctionWrapHandler) -> Any:
    """Lets every text but the empty one pass."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return check_number(value)
    raise ValueError("the number or the name of a class (with quotes inside the override around 'true' and '2.5')")


ClassNumber = Annotated[Index, WrapValidator(_name_of_class)]
"""A class by its name or its number, which is replaced by its position once the images are loaded."""
Kind = Literal["type1", "type2"]
"""Type I: the image changes to another class, and the victim's prediction stays. Type II: the other way round."""


class StrictModel(BaseModel):
    """A section of the config: unknown keys are errors, and values can't be changed after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _has_target(node: Any) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ValueError("a mapping with a _target_, the import path of a class or function")
    return dict(node)


Target = Annotated[dict[str, Any], BeforeValidator(_has_target)]
"""A node that Hydra can instantiate: `_target_` and its arguments."""
