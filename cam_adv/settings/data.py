"""`conf/dataset/`: where images come from, and how they are split."""

from typing import Annotated

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.settings.section import Count, Integer, Name, Section, Seed, Share, Target


class SplitSettings(Section):
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


class DatasetSettings(Section):
    name: Name
    root: str | None = None
    download: bool | None = None
    size: Count | None = None
    gray: bool | None = None
    classes: Annotated[Integer, Field(ge=2)] | None
    source: Target
    split: SplitSettings
    pictures: Annotated[list[tuple[Integer, Integer]], Field(min_length=1)]
