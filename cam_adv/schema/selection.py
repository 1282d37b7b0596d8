"""`selection`: the attacked test images and their target classes."""

from typing import Literal

from pydantic import model_validator

from cam_adv.errors import UserError
from cam_adv.schema.fields import ClassNumber, Count, StrictModel

TargetRule = Literal["random", "next", "every"] | ClassNumber


class SelectionSettings(StrictModel):
    """images: how many of the images that the victim classifies correctly. source: their class, None for all classes.
    target: y' of each image, a rule or a class; see `cam_adv.data.selection.select`.
    """

    images: Count
    source: ClassNumber | None
    target: TargetRule

    @model_validator(mode="after")
    def _target_is_another_class(self) -> "SelectionSettings":
        if self.source is not None and self.source == self.target:
            raise UserError(
                f"selection.target={self.target} is the class that the images already have.",
                "Choose another selection.target, or another selection.source.",
            )
        return self
