"""Types of the config's values: numbers in ranges, names, nodes to instantiate; and the base of its sections."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_boolean(kind: str) -> BeforeValidator:
    """Refuses true and false as numbers; pydantic would take them as 1 and 0."""

    def refuse(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"Input should be a valid {kind}")
        return value

    return BeforeValidator(refuse)


Number = Annotated[float, _no_boolean("number")]
Integer = Annotated[int, _no_boolean("integer")]
Share = Annotated[Number, Field(gt=0, lt=1)]
UnitShare = Annotated[Number, Field(gt=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[Integer, Field(ge=1)]
Index = Annotated[Integer, Field(ge=0)]
Seed = Annotated[Integer, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
Key = Annotated[str, Field(pattern=r"^\w+$")]
Kind = Literal["type1", "type2"]
"""Type I: the image changes to another class, and the victim's prediction stays. Type II: the other way round."""


class StrictModel(BaseModel):
    """A section of the config: unknown keys are errors, and values can't be changed after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _has_target(node: Any) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ValueError("a mapping with a _target_, the import path of a class or function, is needed")
    return dict(node)


Target = Annotated[dict[str, Any], BeforeValidator(_has_target)]
"""A node that Hydra can instantiate: `_target_` and its arguments."""
