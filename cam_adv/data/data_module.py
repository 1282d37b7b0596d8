"""A data module of images in memory, whose batches are made by one indexing operation each."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor

from cam_adv.data.augmentation import Padding, random_affine, random_brightness
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.runtime.transfer import to_device


@dataclass(frozen=True)
class Augmentation:
    """Maximum random shift in pixels, rotation in degrees, relative scale, shear and relative change of brightness of
    a training image, and what pixels from outside the image are.
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    padding: Padding = "zeros"

    @property
    def draws_per_image(self) -> int:
        """How many random numbers an image needs."""
        return 6 if self.brightness else 5

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augmented images `(N, C, H, W)` in [0, 1].

        Args:
            draws: `(draws_per_image, N)`, uniform in [-1, 1]: those of `random_affine`, then that of the brightness.
        """
        moved = random_affine(images, draws[:5], self.shift, self.rotation, self.scale, self.shear, self.padding)
        return random_brightness(moved, draws[5], self.brightness) if self.brightness else moved


EPOCH_SEED_STRIDE = 100_003
"""Distance between the seeds of the first epochs of two trainings: a prime greater than any number of epochs."""


class BatchLoader:
    """Batches `(images (n, C, H, W) in [0, 1], labels (n,))`, each made by one indexing operation.

    The order and the augmentation depend on `seed` alone: the same epoch of the same run gives the same
    batches whether the run is resumed or not, and for every number of processes.
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
        """`batch_size` is the global one: each of `world_size` processes gets its share of each batch."""
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.augmentation = augmentation
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        if self.shuffle:  # an incomplete last batch might leave a process without images, and its gradient undefined
            return max(1, len(self.data) // self.batch_size)
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        count, device = len(self.data), self.data.images.device
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        # All is drawn and copied to the device once in an epoch: a copy at each step would wait for the step before.
        batches = to_device(order, device).split(self.batch_size)[: len(self)]
        numbers = self.augmentation.draws_per_image if self.augmentation else 0
        drawn = [torch.rand(numbers, len(batch), generator=generator) for batch in batches]
        draws = to_device(torch.cat(drawn, dim=1) * 2 - 1, device).split(self.batch_size, dim=1)
        # Of the global batch, so that the augmentation doesn't depend on the number of processes.
        shard = slice(self.rank, None, self.world_size)
        for batch, of_batch in zip(batches, draws, strict=True):
            index = batch[shard]
            images = to_unit_range(self.data.images[index])
            if self.augmentation is not None:
                images = self.augmentation.apply(images, of_batch[:, shard])
            yield images, self.data.labels[index]


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
        self._on_device: dict[str, LabelledImages] = {}

    def train_dataloader(self) -> BatchLoader:
        # Called at each epoch (the Trainer's reload_dataloaders_every_n_epochs=1).
        trainer = self._attached_trainer
        return BatchLoader(
            self._images("train"),
            self.batch_size,
            shuffle=True,
            seed=self.seed * EPOCH_SEED_STRIDE + trainer.current_epoch,
            augmentation=self.augmentation,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    def val_dataloader(self) -> BatchLoader:
        return self._eval_dataloader("validation")

    def test_dataloader(self) -> BatchLoader:
        return self._eval_dataloader("test")

    def _eval_dataloader(self, part: str) -> BatchLoader:
        # Every process evaluates all images: the metric is exact, and nothing needs to be gathered.
        return BatchLoader(self._images(part), self.batch_size, shuffle=False)

    def _images(self, part: str) -> LabelledImages:
        """A part of the splits on the training device, to which it is copied once."""
        if part not in self._on_device:
            data: LabelledImages = getattr(self.splits, part)
            self._on_device[part] = data.to(self._attached_trainer.strategy.root_device)
        return self._on_device[part]

    @property
    def _attached_trainer(self) -> Trainer:
        assert self.trainer is not None  # Lightning sets it before it calls the loaders' methods
        return self.trainer
