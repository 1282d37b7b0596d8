"""`selection`: the attacked images and their target classes."""

from typing import Literal

from pydantic import model_validator

from cam_adv.errors import UserError
from cam_adv.schema.fields import ClassNumber, Count, StrictModel

TargetRule = Literal["random", "next", "every"] | ClassNumber

GENERATED: Literal["generated"] = "generated"
"""The source of an attack without x: samples of y' that the generator draws, instead of test images of y."""


class SelectionSettings(StrictModel):
    """images: how many of the images that the victim classifies correctly. source: their class, None for all classes;
    `GENERATED`: none of them, but samples of the generator. target: y' of each image, a rule or a class; see
    `cam_adv.data.selection.select` and `draw_pairs`.
    """

    images: Count
    source: Literal["generated"] | ClassNumber | None
    target: TargetRule

    @property
    def source_class(self) -> int | None:
        """The class of the attacked test images; None for all classes."""
        return self.source if isinstance(self.source, int) else None

    @model_validator(mode="after")
    def _target_is_another_class(self) -> "SelectionSettings":
        if self.source not in (None, GENERATED) and self.source == self.target:
            raise UserError(
                f"selection.target={self.target} is the class that the images already have.",
                "Choose another selection.target, or another selection.source.",
            )
        if self.target == "every" and self.source not in (None, GENERATED):
            raise UserError(
                f"selection.target=every draws from all classes equally, but selection.source={self.source} is one.",
                "Use selection.target=random, or selection.source=null.",
            )
        return self
