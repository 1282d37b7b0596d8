"""`conf/dataset/`: the source of the images, and their split."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from cam_adv.errors import UserError
from cam_adv.schema.fields import ClassNumber, Count, Integer, Name, Seed, Share, StrictModel, Target

Background = Literal["white", "black"]
"""What shows through transparent pictures."""


class SplitSettings(StrictModel):
    validation: Share
    test: Share | None
    seed: Seed

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> "SplitSettings":
        if self.validation + (self.test or 0) >= 1:
            raise UserError(
                f"dataset.split takes {self.validation} for validation and {self.test} for test: nothing is left.",
                "Lower dataset.split.validation or dataset.split.test until images are left to train on.",
            )
        return self


def _none_is_empty(pairs: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return [] if pairs is None else check(pairs)


ExamplePairs = Annotated[list[tuple[ClassNumber, ClassNumber]], Field(min_length=1), WrapValidator(_none_is_empty)]
"""Source and target classes. null in the config stands for the first two classes, each way, and is an empty list
until the classes are known.
"""


class DatasetSettings(StrictModel):
    name: Name
    root: str | None = None
    download: bool | None = None
    size: Count | None = None
    gray: bool | None = None
    background: Background | None = None
    set: str | None = None
    arguments: dict[str, Any] | None = None
    path: str | None = None
    configuration: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    classes: Annotated[Integer, Field(ge=2)] | None
    source: Target
    split: SplitSettings
    example_pairs: ExamplePairs
