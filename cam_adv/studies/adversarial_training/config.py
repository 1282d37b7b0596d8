"""Settings of the study `adversarial_training`, without its attacks."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.schema.fields import Count, Positive, Seed, Share, StrictModel


class Type1ImagesConfig(StrictModel):
    """Type I images that a victim is trained on.

    images: how many are made at a time, of as many training images.
    share: of the images of a training step that are such images.
    refresh_epochs: after each of so many epochs they are made anew, against the victim as it is then.
    """

    images: Count
    share: Share
    refresh_epochs: Count


class AdversarialTrainingConfig(StrictModel):
    """The trainings that are compared, the numbers of images, and the smallest effect that counts.

    trainings: which attacks the victims are trained against, beside the victims without adversarial training.
    adversarial_radii: of the training against Type II; "type2" and "both" are trained with each of them.
    victims: seeds of the victims of each training.
    control_victims: seeds of further victims without adversarial training, one for each of `victims`, with which it
    is compared: the negative control, which must be shown to do nothing.
    test_images: images that every test attack is run on.
    min_effect: the smallest fall of an attack's success rate that counts as improved robustness; the control must
    change it by less.
    level: of the intervals; the tests, corrected by Holm but for the control, work at 1 − level.
    """

    trainings: Annotated[list[Literal["type1", "type2", "both"]], Field(min_length=1)]
    adversarial_radii: Annotated[list[Positive], Field(min_length=1)]
    type1_images: Type1ImagesConfig
    victims: Annotated[list[Seed], Field(min_length=1)]
    control_victims: Annotated[list[Seed], Field(min_length=1)]
    test_images: Count
    min_effect: Share
    level: Share

    @model_validator(mode="after")
    def _nothing_is_named_twice(self) -> Self:
        seeds = [*self.victims, *self.control_victims]
        lists: dict[str, Sequence[object]] = {
            f"study.trainings={self.trainings} names one": self.trainings,
            f"study.adversarial_radii={self.adversarial_radii} names one": self.adversarial_radii,
            f"study.victims={self.victims} and study.control_victims={self.control_victims} name a seed": seeds,
        }
        for what, values in lists.items():
            if len(set(values)) < len(values):
                raise UserError(f"{what} twice.", "Name each once.")
        return self

    @model_validator(mode="after")
    def _every_victim_has_a_control(self) -> Self:
        if len(self.victims) != len(self.control_victims):
            raise UserError(
                f"study.control_victims={self.control_victims} has {len(self.control_victims)} seeds, but "
                f"study.victims={self.victims} has {len(self.victims)}, each of which is compared with one of them.",
                "Give as many seeds in both.",
            )
        return self
