"""One training: from a network with its first weights to a model in the store."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cam_adv.data.data_module import Augmentation, ImageDataModule
from cam_adv.data.splits import ImageSplits
from cam_adv.models.generators.base import Generator
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.runtime.devices import uses_gpu
from cam_adv.runtime.distributed import require_shared_folder, run_on_all_ranks
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.training.curves import EpochLogger
from cam_adv.training.generator_images import write_generator_images
from cam_adv.training.store import CHECKPOINT, StoreEntry
from cam_adv.training.trainer import TrainingProgress, make_trainer


@dataclass(frozen=True)
class TrainSpec:
    """The training of a network: the module that trains it, the images, the store's entry, and the settings."""

    title: str
    module: LightningModule
    splits: ImageSplits
    entry: StoreEntry
    epochs: int
    batch_size: int
    seed: int
    augmentation: Augmentation
    hardware: HardwareSettings

    @property
    def steps(self) -> int:
        """Number of training steps, roughly."""
        return self.epochs * len(self.splits.train) // self.batch_size


def get_or_train(training: TrainSpec, since: float) -> None:
    """Train a model unless the store has one that is not older than `since`; see `StoreEntry.get_or_train`."""
    training.entry.get_or_train(partial(train, training), since)


def train(training: TrainSpec, folder: Path) -> dict[str, float]:
    """Train in `folder`, resuming from the checkpoint of an interrupted training there; the test metrics."""
    path = folder / CHECKPOINT
    checkpoint = path if path.exists() else None
    if uses_gpu(training.hardware) or not has_batch_statistics(training.module):
        return run_on_all_ranks(_fit, training, folder, checkpoint, training.hardware)
    # PyTorch synchronises batch statistics between GPUs only: on several CPUs the result would be another one.
    return _fit(training, folder, checkpoint, training.hardware.model_copy(update={"devices": 1, "nodes": 1}))


def _fit(training: TrainSpec, folder: Path, checkpoint: Path | None, hardware: HardwareSettings) -> dict[str, float]:
    """This rank's part of a training; the test metrics."""
    require_shared_folder(folder)
    trainer = make_trainer(
        hardware,
        max_epochs=training.epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=EpochLogger(folder, name="", version="", default_hp_metric=False),
        callbacks=[
            ModelCheckpoint(folder, filename=Path(CHECKPOINT).stem, enable_version_counter=False),
            TrainingProgress(training.title),
        ],
    )
    data = ImageDataModule(training.splits, training.batch_size, training.seed, training.augmentation)
    training.module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)  # of a network's own draws, whatever was trained before in this process
        trainer.fit(training.module, data, ckpt_path=checkpoint, weights_only=True)
    (metrics,) = trainer.test(training.module, data, verbose=False)
    network = training.module.network
    if isinstance(network, Generator) and trainer.is_global_zero:
        write_generator_images(network.eval(), training.splits.validation.images, folder)
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether a network has layers of batch normalisation, other than those of a decoder that is frozen."""
    generators = [part for part in module.modules() if isinstance(part, PretrainedGenerator)]
    frozen = {part for generator in generators for part in generator.decoder.modules()}
    return any(isinstance(part, _BatchNorm) and part not in frozen for part in module.modules())
