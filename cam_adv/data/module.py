"""The images in memory, and whole batches by one indexing operation."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from cam_adv.data.augmentation import random_affine
from cam_adv.data.splits import ImageSplits, LabelledImages


@dataclass(frozen=True)
class Augmentation:
    """Largest random shift in pixels, rotation in degrees, relative scale and shear of a training image."""

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0


EPOCHS_APART = 100_003
"""Distance between the seeds of two trainings' first epochs: a prime beyond any number of epochs."""


class BatchLoader:
    """Batches `(images (n, C, H, W) in [0, 1], labels (n,))`, each made by one indexing operation.

    The order and the augmentation depend on `seed` alone: the same epoch of the same run gives the same
    batches whether it is reached at once or resumed into, and on however many processes.
    """

    def __init__(
        self,
        data: LabelledImages,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """`batch_size` is the global one: each of `world_size` processes gets its slice of each batch."""
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.augmentation = augmentation
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        if self.shuffle:  # a ragged last batch would give some processes nothing to average a gradient over
            return max(1, len(self.data) // self.batch_size)
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.data)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        device = self.data.images.device
        for batch in range(len(self)):
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            # Drawn for the whole batch: a process augments its images as a single one would have.
            draws = torch.rand(5, len(whole), generator=generator) * 2 - 1
            shard = slice(self.rank, None, self.world_size)
            mine = whole[shard].to(device)
            images = self.data.images[mine].float().div_(255)
            if self.augmentation is not None:
                images = random_affine(images, draws[:, shard], **vars(self.augmentation))
            yield images, self.data.labels[mine]


class ImageDataModule(LightningDataModule):
    """Train, validation and test batches of images that stay in memory as uint8, on the training device."""

    def __init__(
        self, splits: ImageSplits, batch_size: int, seed: int, augmentation: Augmentation | None = None
    ) -> None:
        """`seed` draws the order and the augmentation of each epoch; `batch_size` is the global one."""
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation

    def train_dataloader(self) -> BatchLoader:
        # Asked for anew at each epoch (the Trainer's reload_dataloaders_every_n_epochs=1).
        trainer = self.trainer
        return BatchLoader(
            self.splits.train.to(trainer.strategy.root_device),
            self.batch_size,
            shuffle=True,
            seed=self.seed * EPOCHS_APART + trainer.current_epoch,
            augmentation=self.augmentation,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    def val_dataloader(self) -> BatchLoader:
        return self._whole(self.splits.validation)

    def test_dataloader(self) -> BatchLoader:
        return self._whole(self.splits.test)

    def _whole(self, data: LabelledImages) -> BatchLoader:
        # Every process measures all of it: the figure is exact, and nothing needs to be gathered.
        return BatchLoader(data.to(self.trainer.strategy.root_device), self.batch_size, shuffle=False)
