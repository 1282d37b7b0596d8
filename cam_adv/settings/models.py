"""`conf/model/`: networks and their trainings."""

from typing import Annotated

from pydantic import Field

from cam_adv.settings.section import Count, Key, Name, NotNegative, Number, Positive, Section, Seed, Target


class AugmentationSettings(Section):
    shift: NotNegative
    rotation: NotNegative
    scale: Annotated[Number, Field(ge=0, lt=1)]
    shear: NotNegative


class ClassifierTraining(Section):
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)]
    pixel_noise: NotNegative
    adversarial_radius: NotNegative
    augmentation: AugmentationSettings


class VictimSettings(Section):
    name: Name
    network: Target
    training: ClassifierTraining | None
    seed: Seed


class MemberSettings(Section):
    network: Target
    seed: Seed
    pixel_noise: NotNegative | None = None
    adversarial_radius: NotNegative | None = None

    def trained(self, shared: ClassifierTraining) -> ClassifierTraining:
        """The ensemble's training with this member's own values."""
        own = {"pixel_noise": self.pixel_noise, "adversarial_radius": self.adversarial_radius}
        return shared.model_copy(update={name: value for name, value in own.items() if value is not None})


class EnsembleSettings(Section):
    name: Name
    members: Annotated[dict[Key, MemberSettings], Field(min_length=1)]
    training: ClassifierTraining


class GeneratorTraining(Section):
    svae_epochs: Count
    discriminator_epochs: Count
    batch_size: Count
    learning_rate: Positive
    kl_weight: Positive
    f2_weight: NotNegative
    augmentation: AugmentationSettings


class GeneratorSettings(Section):
    name: Name
    network: Target
    training: GeneratorTraining
    seed: Seed


class ModelSettings(Section):
    victim: VictimSettings
    generator: GeneratorSettings
    judge: EnsembleSettings
    surrogates: EnsembleSettings
