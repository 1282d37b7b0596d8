"""`conf/model/`: networks and their training."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from cam_adv.schema.component import Component, built
from cam_adv.schema.fields import Count, Key, Name, NotNegative, Number, Positive, Seed, Share, StrictModel, Target

if TYPE_CHECKING:  # for annotations only
    from lightning.pytorch import LightningModule
    from torch import nn


class AugmentationSettings(StrictModel):
    shift: NotNegative
    rotation: NotNegative
    scale: Annotated[Number, Field(ge=0, lt=1)]
    shear: NotNegative
    brightness: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    padding: Literal["zeros", "border"] = "zeros"


class ClassifierTraining(StrictModel):
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)]
    pixel_noise: NotNegative
    adversarial_radius: NotNegative
    augmentation: AugmentationSettings


class VictimSettings(StrictModel):
    """mean, std: of each channel of the images that the network was trained on; it gets (x − mean) / std.
    weights: a file with the network's weights, with which a training begins.
    """

    name: Name
    network: Target
    mean: Annotated[list[Number], Field(min_length=1)] | None = None
    std: Annotated[list[Positive], Field(min_length=1)] | None = None
    weights: str | None = None
    training: ClassifierTraining | None
    seed: Seed


class MemberSettings(StrictModel):
    network: Target
    seed: Seed
    pixel_noise: NotNegative | None = None
    adversarial_radius: NotNegative | None = None

    def trained(self, shared: ClassifierTraining) -> ClassifierTraining:
        """The ensemble's training settings with this member's own values."""
        own = {"pixel_noise": self.pixel_noise, "adversarial_radius": self.adversarial_radius}
        return shared.model_copy(update={name: value for name, value in own.items() if value is not None})


class EnsembleSettings(StrictModel):
    name: Name
    members: Annotated[dict[Key, MemberSettings], Field(min_length=1)]
    training: ClassifierTraining


class JudgeSettings(EnsembleSettings):
    """level, neighbours, references: see `cam_adv.models.judge.Judge`."""

    level: Share
    neighbours: Count
    references: Count


class GeneratorTraining(Component):
    """How a generator is trained; `conf/model/generator/` names a subclass by `_target_`.

    batch_size: the global one, whatever the number of devices. augmentation: of the training images.
    """

    section: ClassVar[str] = "model.generator.training"

    batch_size: Count
    augmentation: AugmentationSettings

    @property
    @abstractmethod
    def epochs(self) -> int:
        """Number of passes over the training images."""

    @abstractmethod
    def module(self, network: "nn.Module", seed: int) -> "LightningModule":
        """The module that trains the network: it has it as `network`, and logs its test metrics as `test/…`.

        Args:
            seed: of its random draws.
        """


class GeneratorSettings(StrictModel):
    name: Name
    network: Target
    training: Annotated[GeneratorTraining, built(GeneratorTraining)] | None
    seed: Seed


class ModelSettings(StrictModel):
    victim: VictimSettings
    generator: GeneratorSettings
    judge: JudgeSettings
    surrogates: EnsembleSettings
