"""Labelled images, and their split into train, validation and test."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.errors import UserError


@dataclass(frozen=True)
class LabelledImages:
    """Images `(N, C, H, W)` uint8 in [0, 255] with labels `(N,)` int64 in [0, K)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> "LabelledImages":
        return LabelledImages(self.images[index], self.labels[index])

    def to(self, device: torch.device) -> "LabelledImages":
        return LabelledImages(self.images.to(device), self.labels.to(device))

    def digest(self) -> str:
        """SHA-256 of shape, pixels and labels, the same on every machine."""
        state = hashlib.sha256(str(tuple(self.images.shape)).encode())
        state.update(self.images.cpu().contiguous().numpy().data)
        state.update(self.labels.cpu().contiguous().numpy().data)
        return state.hexdigest()


@dataclass(frozen=True)
class ImageSplits:
    """A dataset: three disjoint parts, and the names of the K classes."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def stratified_indices(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split positions so that the second part has `fraction` of each class (rounded, at least 1).

    Args:
        labels: `(N,)` int64.
        fraction: share of each class in the second part, in (0, 1).
        seed: of the explicit generator that draws them.

    Returns:
        The positions of the first and of the second part, each ascending.
    """
    generator = torch.Generator().manual_seed(seed)
    second = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        count = _part(len(members), fraction)
        second[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~second).nonzero().squeeze(1), second.nonzero().squeeze(1)


def split(
    pool: LabelledImages,
    test: LabelledImages | None,
    class_names: Sequence[str],
    validation_fraction: float,
    test_fraction: float | None,
    seed: int,
) -> ImageSplits:
    """Split a pool of images into train, validation and, where the source has no test images of its own, test.

    Args:
        pool: all images that aren't test images of the source.
        test: the source's own test images, or None to draw them from the pool.
        class_names: names of the K classes.
        validation_fraction: of the pool.
        test_fraction: of the pool; ignored where `test` is given.
        seed: of the explicit generators.

    Raises:
        UserError: there is neither `test` nor `test_fraction`, or a class is too small.
    """
    if test is None:
        if test_fraction is None:
            raise UserError(
                "dataset.split.test is null, but this dataset has no test images of its own.",
                "Set dataset.split.test to a share of the images, for instance 0.2.",
            )
        _check_class_sizes(pool.labels, class_names, validation_fraction, test_fraction)
        rest, test_indices = stratified_indices(pool.labels, test_fraction, seed)
        test, pool = pool[test_indices], pool[rest]
        validation_fraction = validation_fraction / (1 - test_fraction)
    else:
        _check_class_sizes(pool.labels, class_names, validation_fraction, None)
    train_indices, validation_indices = stratified_indices(pool.labels, validation_fraction, seed + 1)
    return ImageSplits(pool[train_indices], pool[validation_indices], test, tuple(class_names))


def _part(count: int, fraction: float) -> int:
    """How many of the images of a class a part gets."""
    return max(1, round(fraction * count))


def _check_class_sizes(
    labels: Tensor, class_names: Sequence[str], validation_fraction: float, test_fraction: float | None
) -> None:
    """Refuse a class of which no image would be left to train on."""
    for name, count in zip(class_names, labels.bincount(minlength=len(class_names)).tolist(), strict=True):
        tested = 0 if test_fraction is None else _part(count, test_fraction)
        if tested + _part(count - tested, validation_fraction / (1 - (test_fraction or 0))) < count:
            continue
        needed = 2 if test_fraction is None else 3
        images = f"{count} image{'s'[: count != 1]}"
        if count < needed:
            parts = "training and validation" if test_fraction is None else "training, validation and test"
            raise UserError(
                f"Class {name} has {images}, too few for a split into {parts}.",
                f"Give it at least {needed} images, or leave the class out.",
            )
        shares = "dataset.split.validation" + ("" if test_fraction is None else " or dataset.split.test")
        raise UserError(
            f"Class {name} has {images}, too few for a split that leaves some to train on.",
            f"Lower {shares}, or add images of this class.",
        )
