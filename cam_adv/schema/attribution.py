"""`conf/attribution/`: explanations of one network, and the robust interpretation by several."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from cam_adv.errors import UserError
from cam_adv.schema.fields import Count, Key, NotNegative, Seed, Share, StrictModel, Target


class AttributionSettings(StrictModel):
    """`method` is a partial function `(LayerTarget, images, y, target)` → raw maps `(N, h, w)`."""

    name: Key
    method: Target

    @model_validator(mode="before")
    @classmethod
    def _explains_one_network(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "victims" in value:
            raise UserError(
                f"{value.get('name')} is an interpretation by several networks, but this study explains one.",
                "Use study=robust_explanation.",
            )
        return value


class RobustSettings(StrictModel):
    """See `cam_adv.attributions.robust.RobustInterpretation`.

    victims: seeds of the independent victims.
    """

    name: Key
    victims: Annotated[list[Seed], Field(min_length=1)]
    samples: Count
    spread: NotNegative
    level: Share
    seed: Seed


def _kind(value: Any) -> str:
    is_robust = isinstance(value, RobustSettings) or (isinstance(value, Mapping) and "victims" in value)
    return "robust interpretation" if is_robust else "explanation of one network"


AnyAttribution = Annotated[
    Annotated[AttributionSettings, Tag("explanation of one network")]
    | Annotated[RobustSettings, Tag("robust interpretation")],
    Discriminator(_kind),
]
"""A robust interpretation has `victims`, an explanation of one network has not."""
