"""Trained models for a dataset: taken from the store, or trained on the spot."""

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cam_adv.data.module import Augmentation, ImageDataModule
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.hardware.devices import uses_gpu
from cam_adv.hardware.processes import must_be_shared, together
from cam_adv.networks.check import check_classifier, check_generator, check_pixel_range
from cam_adv.networks.code import code_digest
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.predictions import BATCH, unit
from cam_adv.settings import (
    ClassifierTraining,
    EnsembleSettings,
    GeneratorSettings,
    GeneratorTraining,
    HardwareSettings,
    MemberSettings,
    ModelSettings,
    Stage,
    VictimSettings,
)
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.pictures import write_generator_pictures
from cam_adv.training.store import CHECKPOINT, Entry
from cam_adv.training.svae_gan import SVAEGAN
from cam_adv.training.trainer import TrainingProgress, make_trainer


@dataclass(frozen=True)
class Training:
    """How a network gets its weights: the module that trains it, and the entry of the store that keeps it."""

    module: LightningModule
    entry: Entry
    epochs: int
    batch_size: int
    seed: int
    augmentation: Augmentation


@dataclass(frozen=True)
class Model:
    """A network and its training, None for one that the user brings trained."""

    title: str
    network: nn.Module
    training: Training | None


@dataclass(frozen=True)
class Models:
    """What a stage needs; the other parts are empty."""

    victim: Model | None = None
    judge: dict[str, Model] = field(default_factory=dict)
    generator: Model | None = None
    surrogates: dict[str, Model] = field(default_factory=dict)

    def judges(self) -> Ensemble:
        """The judge's networks, which answer as one."""
        return Ensemble({name: model.network for name, model in self.judge.items()})

    def all(self) -> list[Model]:
        """Every model, in the order in which they are trained."""
        single = [model for model in (self.victim, self.generator) if model is not None]
        return [*single, *self.surrogates.values(), *self.judge.values()]


@dataclass(frozen=True)
class Workshop:
    """Where models are made: the data they are trained on, the store, and the hardware.

    began: when the run began, in seconds since the epoch; what it has trained anew since is not trained once more.
    """

    splits: ImageSplits
    dataset: str
    store: Path
    hardware: HardwareSettings
    began: float = field(default_factory=time.time)

    def models(self, settings: ModelSettings, stage: Stage, with_surrogates: bool) -> Models:
        """The networks that a stage needs, built and checked but not yet trained.

        Raises:
            UserError: a network can't be built, or is no classifier of this dataset's images.
        """
        attack = stage in ("attack", "kinds")
        return Models(
            victim=self._victim(settings.victim) if attack or stage in ("victim", "bound") else None,
            judge=self._ensemble("judge", settings.judge) if attack or stage in ("judge", "agreement") else {},
            generator=self._generator(settings.generator) if attack or stage == "generator" else None,
            surrogates=self._ensemble("surrogate", settings.surrogates)
            if (attack and with_surrogates) or stage == "surrogates"
            else {},
        )

    def prepare(self, models: Sequence[Model], retrain: bool) -> None:
        """Load the weights of what the store has, then train the rest; `retrain`: all that is older than the run.

        Everything that can be read is read first, so that a damaged file ends the run before it trains.
        """
        trainings = [(model.title, model.training) for model in models if model.training is not None]
        since = self.began if retrain else 0.0
        missing = [(title, training) for title, training in trainings if not training.entry.exists(since)]
        for pair in trainings:
            if pair not in missing:
                pair[1].entry.load_into(pair[1].module)
            elif not retrain:
                pair[1].entry.check_interrupted(pair[1].module)
        for title, training in missing:
            training.entry.create(partial(self._train, title, training), since)
            training.entry.load_into(training.module)
        for model in models:
            model.network.eval().requires_grad_(False)

    def _victim(self, settings: VictimSettings) -> Model:
        if settings.training is not None:
            return self._classifier("victim", settings.name, settings, settings.training)
        network = self._network(settings, trained=True)
        some = torch.randperm(len(self.splits.validation), generator=torch.Generator().manual_seed(0))[:BATCH]
        seen, labels = unit(self.splits.validation.images[some]), self.splits.validation.labels[some]
        check_pixel_range(network, seen, labels, settings.network["_target_"])
        return Model(f"victim {settings.name}", network, None)

    def _ensemble(self, role: str, settings: EnsembleSettings) -> dict[str, Model]:
        return {
            name: self._classifier(role, name, member, member.trained(settings.training))
            for name, member in settings.members.items()
        }

    def _classifier(
        self, role: str, name: str, settings: VictimSettings | MemberSettings, training: ClassifierTraining
    ) -> Model:
        module = ClassifierModule(
            self._network(settings),
            training.learning_rate,
            training.weight_decay,
            training.label_smoothing,
            training.pixel_noise,
            training.adversarial_radius,
            settings.seed,
        )
        return self._model(role, name, settings, module, training, training.epochs)

    def _network(self, settings: VictimSettings | MemberSettings, trained: bool = False) -> nn.Module:
        network = self._build(settings.network, settings.seed)
        check_classifier(network, self._few(), self.splits.num_classes, settings.network["_target_"], trained)
        return network

    def _few(self) -> Tensor:
        """A few training images `(n, C, H, W)` in [0, 1], to try a network on."""
        return self.splits.train.images[:8].float() / 255

    def _generator(self, settings: GeneratorSettings) -> Model:
        training = settings.training
        network = self._build(settings.network, settings.seed)
        check_generator(network, self._few(), self.splits.num_classes, settings.network["_target_"])
        module = SVAEGAN(
            network,
            training.svae_epochs,
            training.discriminator_epochs,
            training.learning_rate,
            training.kl_weight,
            training.f2_weight,
            settings.seed,
        )
        epochs = training.svae_epochs + training.discriminator_epochs
        return self._model("generator", settings.name, settings, module, training, epochs)

    def _build(self, target: dict[str, Any], seed: int) -> nn.Module:
        """Instantiate a network with weights drawn from `seed`.

        `in_channels`, `num_classes` and `image_size` are handed over where its signature takes them and
        the config leaves them open.
        """
        channels, height, width = self.splits.image_shape
        offered = {
            "in_channels": channels,
            "num_classes": self.splits.num_classes,
            "image_size": (height, width),
        }
        taken = inspect.signature(get_object(target["_target_"])).parameters
        arguments = {name: value for name, value in offered.items() if name in taken and name not in target}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = instantiate(target, **arguments)
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{target['_target_']} made a {type(network).__name__}, not a torch.nn.Module.",
                "Give a class or function that returns a network from images to logits.",
            )
        # Measured on two cores: an attack step is 1.27 times as fast with channels last.
        return network.eval().to(memory_format=torch.channels_last)

    def _model(
        self,
        role: str,
        name: str,
        settings: VictimSettings | MemberSettings | GeneratorSettings,
        module: ClassifierModule | SVAEGAN,
        training: ClassifierTraining | GeneratorTraining,
        epochs: int,
    ) -> Model:
        if training.batch_size < self.hardware.processes:
            raise UserError(
                f"The {role} {name} is trained with batches of {training.batch_size}, less than an image for each of "
                f"{self.hardware.processes} devices.",
                "Raise its training.batch_size, or lower hardware.devices.",
            )
        recipe = {
            "dataset": [part.digest() for part in (self.splits.train, self.splits.validation, self.splits.test)],
            "role": role,
            "network": settings.network,
            "code": _own_code(settings.network["_target_"]),
            "training": training.model_dump(mode="json"),
            "seed": settings.seed,
            "precision": self.hardware.precision,
        }
        return Model(
            title=f"{role} {name}",
            network=module.network,
            training=Training(
                module=module,
                entry=Entry(self.store, f"{role}-{name}-{self.dataset}", recipe),
                epochs=epochs,
                batch_size=training.batch_size,
                seed=settings.seed,
                augmentation=Augmentation(**training.augmentation.model_dump()),
            ),
        )

    def _train(self, title: str, training: Training, folder: Path) -> dict[str, float]:
        """Train in `folder`, going on from a checkpoint that an interrupted training left there."""
        checkpoint = folder / CHECKPOINT
        begun = checkpoint if checkpoint.exists() else None
        if uses_gpu(self.hardware) or not has_batch_statistics(training.module):
            return together(self._fit, title, training, folder, begun, self.hardware)
        # PyTorch shares a batch's statistics between GPUs only: on CPUs its halves would train another network.
        alone = self.hardware.model_copy(update={"devices": 1, "nodes": 1})
        return self._fit(title, training, folder, begun, alone)

    def _fit(
        self, title: str, training: Training, folder: Path, checkpoint: Path | None, hardware: HardwareSettings
    ) -> dict[str, float]:
        """This process's part of a training, which a checkpoint may begin; what was measured at its end."""
        must_be_shared(folder)
        trainer = make_trainer(
            hardware,
            max_epochs=training.epochs,
            reload_dataloaders_every_n_epochs=1,
            logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
            callbacks=[
                ModelCheckpoint(folder, filename=Path(CHECKPOINT).stem, enable_version_counter=False),
                TrainingProgress(title),
            ],
        )
        data = ImageDataModule(self.splits, training.batch_size, training.seed, training.augmentation)
        training.module.train()
        trainer.fit(training.module, data, ckpt_path=checkpoint, weights_only=True)
        (figures,) = trainer.test(training.module, data, verbose=False)
        if isinstance(training.module, SVAEGAN) and trainer.is_global_zero:
            write_generator_pictures(training.module.network.eval(), self.splits.validation.images, folder)
        return {name.removeprefix("test/"): value for name, value in figures.items()}


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether a network trains with the mean and variance of its batches."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def _own_code(target: str) -> str | None:
    """The digest of a user's own code; the version stands for the package's."""
    return None if target.startswith("cam_adv.") else code_digest(get_object(target))
