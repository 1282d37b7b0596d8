"""What sections of the config are made of: numbers in their ranges, names, things to instantiate."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_boolean(kind: str) -> BeforeValidator:
    """Pydantic takes true for 1; who writes attack.strength=true means something else."""

    def refuse(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"Input should be a valid {kind}")
        return value

    return BeforeValidator(refuse)


Number = Annotated[float, _no_boolean("number")]
Integer = Annotated[int, _no_boolean("integer")]
Share = Annotated[Number, Field(gt=0, lt=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[Integer, Field(ge=1)]
Index = Annotated[Integer, Field(ge=0)]
Seed = Annotated[Integer, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
Key = Annotated[str, Field(pattern=r"^\w+$")]


class Section(BaseModel):
    """One node of the config: unknown keys are errors, values stay as they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _has_target(node: Any) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ValueError("a mapping with a _target_, the import path of a class or function, is needed")
    return dict(node)


Target = Annotated[dict[str, Any], BeforeValidator(_has_target)]
"""A node that Hydra can instantiate: `_target_` and its arguments."""
