"""Adversarial training against Type I: the victim is trained on Type I images that are made against itself.

Such an image takes hundreds of steps, so that they aren't made for every training step, as those of Type II are
(Madry et al. 2018), but after every few epochs, against the victim as it is then.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, AttackModels, BoundAttack
from cam_adv.attacks.batch_size import resolve_batch_size
from cam_adv.data.data_module import Augmentation
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import select
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.models.generators.base import Generator
from cam_adv.models.modes import eval_mode
from cam_adv.models.predictions import batched_apply
from cam_adv.runtime.digest import digest
from cam_adv.runtime.source_hash import source_hash, targets_in
from cam_adv.runtime.transfer import to_device
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.schema.selection import TargetRule
from cam_adv.studies.adversarial_training.config import Type1ImagesConfig
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.step_generator import step_generator


@dataclass(frozen=True)
class Type1Images:
    """Makes Type I images of training images against a victim.

    attack: of Type I. generator, surrogates: those that it uses. target, source, seed: of its images; see `select`.
    augmentation: of training images, made of these, too.
    """

    config: Type1ImagesConfig
    attack: Attack
    generator: Generator | None
    surrogates: list[nn.Module]
    splits: ImageSplits
    target: TargetRule
    source: int | None
    seed: int
    augmentation: Augmentation
    hardware: HardwareSettings

    def make(self, victim: nn.Module, device: torch.device, epoch: int) -> LabelledImages:
        """8-bit images, failures of the attack included, labelled y', of training images that the victim classifies
        correctly; another epoch gives other images.

        The label is the intended one. It is not checked whether the attack reached it: a judge that took part in the
        training could not evaluate its outcome.

        Raises:
            UserError: fewer training images can be attacked than are asked for.
        """
        train, seed = self.splits.train, self.seed + epoch
        with eval_mode(victim):
            eligible = batched_apply(victim, train.images, device).argmax(dim=1) == train.labels
        names, key = self.splits.class_names, "study.type1_images.images"
        selection = select(train.labels, eligible, names, self.config.images, self.source, self.target, seed, key)
        models = AttackModels(victim, self.generator, self.surrogates, self.splits.validation, train).to(device)
        attack = BoundAttack(self.attack, models, seed)
        size = resolve_batch_size(attack, train, selection, self.hardware)
        attack.to(device)
        images = []
        for rows in torch.arange(len(selection)).split(size):
            x = to_unit_range(train.images[selection.index[rows]].to(device))
            result = attack(x, selection.y[rows].to(device), selection.target[rows].to(device))
            images.append((result.x_adv * 255).round().byte().cpu())
        return LabelledImages(torch.cat(images), selection.target)

    def recipe(self) -> dict[str, Any]:
        """Everything that determines the images, in values that JSON can hold, but the victim and the dataset."""
        networks = {"generator": self.generator, **{str(number): one for number, one in enumerate(self.surrogates)}}
        weights = {
            f"{name} {key}": tensor
            for name, network in networks.items()
            if network is not None
            for key, tensor in network.state_dict().items()
        }
        attack = self.attack.model_dump(mode="json")
        return {
            "config": self.config.model_dump(mode="json"),
            "attack": attack,
            "networks": digest({"networks": repr(list(networks.values()))}, weights),
            "selection": [self.target, self.source, self.seed],
            "code": source_hash(Type1TrainingModule, type(self.attack), *targets_in(attack)),
        }


class Type1TrainingModule(ClassifierModule):
    """Trains a classifier on Type I images, which are made against itself, beside the images of each batch."""

    type1_images: Type1Images
    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, module: ClassifierModule, type1_images: Type1Images) -> "Type1TrainingModule":
        """The same training with such images.

        They are buffers, so that a checkpoint has them: a training that is resumed would make others.
        """
        made = cls(module.network, **module.hparams)
        made.type1_images = type1_images
        count, shape = type1_images.config.images, type1_images.splits.image_shape
        made.register_buffer("images", torch.zeros(count, *shape, dtype=torch.uint8))
        made.register_buffer("labels", torch.zeros(count, dtype=torch.long))
        return made

    def on_train_epoch_start(self) -> None:
        if self.current_epoch and self.current_epoch % self.type1_images.config.refresh_epochs == 0:
            made = self.type1_images.make(self.network, self.device, self.current_epoch)
            self.images.copy_(made.images)
            self.labels.copy_(made.labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        config = self.type1_images.config
        if self.current_epoch < config.refresh_epochs:
            return super().training_step(batch, batch_index)
        generator, augmentation = step_generator(self, self.hparams["seed"]), self.type1_images.augmentation
        count = max(1, round(config.share / (1 - config.share) * len(batch[1])))
        rows = to_device(torch.randint(len(self.labels), (count,), generator=generator), self.device)
        draws = 2 * torch.rand(augmentation.draws_per_image, count, generator=generator) - 1
        images = augmentation.apply(to_unit_range(self.images[rows]), to_device(draws, self.device))
        added = torch.cat([batch[0], images]), torch.cat([batch[1], self.labels[rows]])
        return super().training_step(added, batch_index)
