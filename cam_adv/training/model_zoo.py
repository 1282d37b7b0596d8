"""Trained models for a dataset: loaded from the store, or trained."""

import inspect
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from hydra.utils import get_object
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cam_adv.data.data_module import Augmentation, ImageDataModule
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.models.checks import check_classifier, check_pixel_range, check_trainable
from cam_adv.models.generator_checks import check_generator
from cam_adv.models.generators.base import Generator
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.image_size import check_image_size
from cam_adv.models.modes import eval_mode
from cam_adv.models.normalized import Normalized, normalized
from cam_adv.models.output_checks import check_channels
from cam_adv.models.predictions import BATCH
from cam_adv.models.weights import file_digest, load_weights
from cam_adv.runtime.devices import concurrent_trainings
from cam_adv.runtime.digest import digest
from cam_adv.runtime.source_hash import source_hash, targets_in
from cam_adv.schema.component import instantiated
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.schema.models import (
    ClassifierTraining,
    EnsembleSettings,
    GeneratorSettings,
    GeneratorTraining,
    MemberSettings,
    ModelSettings,
    VictimSettings,
)
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.side_by_side import train_side_by_side
from cam_adv.training.store import StoreEntry
from cam_adv.training.train import TrainSpec, get_or_train

WEIGHT_FILES = frozenset({"weights", "encoder_weights", "decoder_weights", "file", "path"})
"""Keys of a decoder's config that say where its weights are."""


@dataclass(frozen=True)
class ModelHandle:
    """A network and its training, None for one that is given trained."""

    title: str
    network: nn.Module
    training: TrainSpec | None


@dataclass(frozen=True)
class ModelSet:
    """The models of a study by role; a role that it doesn't need is empty."""

    victim: ModelHandle | None = None
    judge: dict[str, ModelHandle] = field(default_factory=dict)
    generator: ModelHandle | None = None
    surrogates: dict[str, ModelHandle] = field(default_factory=dict)

    def all(self) -> list[ModelHandle]:
        """Every model, in the order in which they are trained."""
        single = [model for model in (self.victim, self.generator) if model is not None]
        return [*single, *self.surrogates.values(), *self.judge.values()]


@dataclass(frozen=True)
class ModelZoo:
    """Builds, loads and trains models.

    splits: the images that they are trained on. dataset: its name. store: the folder of trained models.
    start_time: of the run, in seconds since the epoch; with `retrain`, models that are older are trained again.
    made: the classifiers that it has built and checked.
    in_use: holds the marks of the models that it has prepared, until it is closed; see `StoreEntry.in_use`.
    """

    splits: ImageSplits
    dataset: str
    store: Path
    hardware: HardwareSettings
    start_time: float = field(default_factory=time.time)
    made: WeakSet[nn.Module] = field(default_factory=WeakSet, compare=False)
    in_use: ExitStack = field(default_factory=ExitStack, compare=False)

    def models(self, settings: ModelSettings, roles: Collection[str]) -> ModelSet:
        """The models of some roles, built and checked but not yet trained.

        Raises:
            UserError: a network can't be built, or fails the checks of its role.
        """
        return ModelSet(
            victim=self.victim(settings.victim) if "victim" in roles else None,
            judge=self._ensemble("judge", settings.judge) if "judge" in roles else {},
            generator=self._generator(settings.generator) if "generator" in roles else None,
            surrogates=self._ensemble("surrogate", settings.surrogates) if "surrogates" in roles else {},
        )

    def prepare(self, models: Sequence[ModelHandle], retrain: bool) -> None:
        """Load the weights of the models in the store, then train the others, `hardware.trainings` at a time.

        All files are read before the first training, so that a damaged one is reported early.

        Args:
            retrain: train all models that are older than the run.
        """
        trainings = [model.training for model in models if model.training is not None]
        since = self.start_time if retrain else 0.0
        missing = []
        for training in trainings:
            self.in_use.enter_context(training.entry.in_use())
            if training.entry.exists(since):
                training.entry.load_into(training.module)
                continue
            missing.append(training)
            if not retrain:
                training.entry.check_interrupted(training.module)
        side_by_side = min(concurrent_trainings(self.hardware), len(missing))
        if side_by_side > 1:
            train_side_by_side(sorted(missing, key=_length, reverse=True), since, side_by_side)
        for training in missing:
            get_or_train(training, since)
            training.entry.load_into(training.module)
        for model in models:
            model.network.eval().requires_grad_(False)

    def victim(self, settings: VictimSettings) -> ModelHandle:
        """See `models`."""
        if settings.training is not None:
            return self._classifier("victim", settings.name, settings, settings.training)
        network = self._network(settings, trained=True)
        self._check_pixel_range(network, settings.network["_target_"], in_config=True)
        return ModelHandle(f"victim {settings.name}", network, None)

    def check_victim(self, network: nn.Module) -> nn.Module:
        """A trained victim that was not made here, after the checks that one of the config passes; it stays as it is.

        Raises:
            UserError: it fails a check.
        """
        if network in self.made:
            return network
        weight = next(network.parameters(), torch.empty(0))
        with eval_mode(network):
            few = self._few().to(weight.device)
            check_classifier(network, few, self.splits.num_classes, "The victim", trained=True)
            self._check_pixel_range(network, "The victim", in_config=False)
        return network

    def _check_pixel_range(self, network: nn.Module, name: str, in_config: bool) -> None:
        some = torch.randperm(len(self.splits.validation), generator=torch.Generator().manual_seed(0))[:BATCH]
        device = next(network.parameters(), torch.empty(0)).device
        images = to_unit_range(self.splits.validation.images[some]).to(device)
        labels = self.splits.validation.labels[some].to(device)
        check_pixel_range(network, images, labels, name, in_config=in_config)

    def _ensemble(self, role: str, settings: EnsembleSettings) -> dict[str, ModelHandle]:
        return {
            name: self._classifier(role, name, member, member.trained(settings.training))
            for name, member in settings.members.items()
        }

    def _classifier(
        self, role: str, name: str, settings: VictimSettings | MemberSettings, training: ClassifierTraining
    ) -> ModelHandle:
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
        network, name = self._build(settings.network, settings.seed), settings.network["_target_"]
        check_channels(network, self._few(), name)
        if isinstance(settings, VictimSettings):
            if settings.weights is not None:
                load_weights(network, settings.weights, name)
            network = normalized(network, settings.mean, settings.std, self.splits.image_shape[0])
        check_classifier(network, self._few(), self.splits.num_classes, name, trained)
        if not trained:
            check_trainable(network, self._few(), self.splits.num_classes, name)
        self.made.add(network)
        return network

    def _few(self) -> Tensor:
        """A few training images `(n, C, H, W)` in [0, 1], to check a network with."""
        return to_unit_range(self.splits.train.images[:8])

    def _generator(self, settings: GeneratorSettings) -> ModelHandle:
        network = self._build(settings.network, settings.seed)
        if not isinstance(network, Generator):
            raise UserError(
                f"{settings.network['_target_']} made a {type(network).__name__}, which is no generator.",
                f"Give a subclass of {Generator.__module__}.{Generator.__name__}.",
            )
        check_generator(network, self._few(), self.splits.num_classes, settings.network["_target_"])
        if settings.training is None and isinstance(network, PretrainedGenerator):
            raise UserError(
                f"model.generator.training is null, but {network.name} has no trained classifier of codes.",
                "Use the training of model/generator=own.",
            )
        if settings.training is None:
            return ModelHandle(f"generator {settings.name}", network, None)
        module = settings.training.module(network, settings.seed)
        return self._model("generator", settings.name, settings, module, settings.training, settings.training.epochs)

    def _build(self, target: dict[str, Any], seed: int) -> nn.Module:
        """Instantiate a network with weights drawn from `seed`.

        `in_channels`, `num_classes` and `image_size` are passed if its signature has them and the config doesn't.
        """
        channels, height, width = self.splits.image_shape
        from_dataset = {
            "in_channels": channels,
            "num_classes": self.splits.num_classes,
            "image_size": (height, width),
        }
        parameters = inspect.signature(get_object(target["_target_"])).parameters
        arguments = {name: value for name, value in from_dataset.items() if name in parameters and name not in target}
        with torch.random.fork_rng(devices=[]):
            build = partial(instantiated, target, **arguments)
            check_image_size(build, self.splits.image_shape, target["_target_"])
            torch.manual_seed(seed)
            network = build()
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{target['_target_']} made a {type(network).__name__}, not a torch.nn.Module.",
                "Give a class or function that returns a network from images to logits.",
            )
        if any(isinstance(part, torch.jit.ScriptModule) for part in network.modules()):
            raise UserError(
                f"{target['_target_']} made a TorchScript module, which can't be trained, explained or sent to other "
                "processes.",
                "Give the torch.nn.Module that it was made from, with the weights: "
                "torch.save(script.state_dict(), FILE) and model.victim.weights=FILE.",
            )
        if all(made.__module__.startswith("cam_adv.") for made in targets_in(target)):
            # Measured on two cores: an attack step is 1.27 times as fast. Other networks may use Tensor.view.
            network.to(memory_format=torch.channels_last)
        return network.eval()

    def _model(
        self,
        role: str,
        name: str,
        settings: VictimSettings | MemberSettings | GeneratorSettings,
        module: LightningModule,
        training: ClassifierTraining | GeneratorTraining,
        epochs: int,
    ) -> ModelHandle:
        network = module.network
        assert isinstance(network, nn.Module)  # see GeneratorTraining.module
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
            "trained_by": f"{type(module).__module__}.{type(module).__qualname__}",
            "code": training_code(settings.network, type(module)),
            "training": training.model_dump(mode="json"),
            "seed": settings.seed,
            "precision": self.hardware.precision,
        }
        if isinstance(settings, VictimSettings):
            recipe |= _given(settings)
        if isinstance(network, PretrainedGenerator):
            recipe |= _pretrained(settings.network, network)
        return ModelHandle(
            title=f"{role} {name}",
            network=network,
            training=TrainSpec(
                title=f"{role} {name}",
                module=module,
                splits=self.splits,
                entry=StoreEntry(self.store, f"{role}-{name}-{self.dataset}", recipe),
                epochs=epochs,
                batch_size=training.batch_size,
                seed=settings.seed,
                augmentation=Augmentation(**training.augmentation.model_dump()),
                hardware=self.hardware,
            ),
        )


def training_code(network: Mapping[str, Any], module: Callable[..., Any]) -> str:
    """The digest of the source that makes a network of this config and trains it with this class."""
    return source_hash(*targets_in(network), module, ImageDataModule)


def _length(training: TrainSpec) -> tuple[bool, int]:
    """A measure of how long a training takes: a generator's takes longest."""
    return isinstance(training.module.network, Generator), training.steps


def _given(settings: VictimSettings) -> dict[str, Any]:
    """What a victim's recipe has in addition, where these keys are set; without them it is as it was before them."""
    given: dict[str, Any] = {}
    if settings.weights is not None:
        given["weights"] = file_digest(settings.weights)
    if settings.mean is not None or settings.std is not None:
        given |= {"mean": settings.mean, "std": settings.std, "normalized": source_hash(Normalized)}
    return given


def _pretrained(target: dict[str, Any], network: PretrainedGenerator) -> dict[str, Any]:
    """In the recipe of such a generator: its decoder's weights, not their files, and not the inversion."""
    trained = {
        key: _without_files(value) if key == "decoder" else value
        for key, value in target.items()
        if key != "inversion"
    }
    return {"network": trained, "decoder": digest({}, network.decoder.state_dict())}


def _without_files(target: Any) -> Any:
    """The same config without the paths of weights."""
    if not isinstance(target, dict):
        return target
    kept = {key: value for key, value in target.items() if not (key in WEIGHT_FILES and isinstance(value, str))}
    return {key: _without_files(value) for key, value in kept.items()}
