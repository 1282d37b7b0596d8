"""Settings of the study `adversarial_training`, without its attacks."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.schema.fields import Count, Positive, Share, StrictModel


class AdversarialTrainingConfig(StrictModel):
    """The trainings that are compared, the numbers of images, and the smallest effect that counts.

    trainings: which attacks the victims are trained against, beside the victim without adversarial training.
    images: adversarial images of Type I to train with. share: of an epoch's images that are adversarial.
    adversarial_radius: of the training against Type II. test_images: images that every test attack is run on.
    min_effect: the smallest fall of an attack's success rate that counts as improved robustness.
    """

    trainings: Annotated[list[Literal["type1", "type2", "both"]], Field(min_length=1)]
    images: Count
    share: Share
    adversarial_radius: Positive
    test_images: Count
    min_effect: Share

    @model_validator(mode="after")
    def _trainings_are_distinct(self) -> "AdversarialTrainingConfig":
        if len(set(self.trainings)) < len(self.trainings):
            raise UserError(f"study.trainings={self.trainings} names one twice.", "Name each once.")
        return self
