"""Pictures with what people read in them, to measure how often the judge agrees with them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cam_adv.errors import UserError

NOTHING = -1
"""What is read in a picture of none of the classes, by a person or by the judge."""


@dataclass(frozen=True)
class HumanLabels:
    """Pictures `(N, C, H, W)` uint8 and what each of R readers saw in them, `(N, R)`: a class, or `NOTHING`."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def agreed(self) -> Tensor:
        """Whether all readers saw the same class, `(N,)`."""
        first = self.labels[:, :1]
        return (self.labels == first).all(dim=1) & (first.squeeze(1) != NOTHING)

    @property
    def nothing(self) -> Tensor:
        """Whether a reader saw nothing, `(N,)`."""
        return (self.labels == NOTHING).any(dim=1)


def load_human_labels(
    images: str | None, labels: str | None, shape: tuple[int, int, int], num_classes: int
) -> HumanLabels:
    """Read two `.npy` files: images `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)` uint8, and what people saw.

    Args:
        images: path of the images.
        labels: path of the labels, integers `(N,)` of one reader or `(N, R)` of several; −1: nothing.
        shape: `(C, H, W)` of the dataset that the judge was trained on.
        num_classes: K of that dataset.

    Raises:
        UserError: a path is missing, a file can't be read, or its content has another type, shape or range.
    """
    pixels, seen = _read(images, "study.images"), _read(labels, "study.labels")
    given = pixels.shape[1:]
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim == 4 and given == (*shape[1:], shape[0]):
        pixels = pixels.transpose(0, 3, 1, 2)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != shape:
        raise UserError(
            f"study.images={images} holds {pixels.dtype} pictures of {given}, but the judge reads uint8 of {shape}.",
            "Give pictures of the dataset's own size, in 0 to 255.",
        )
    fits = seen.ndim in (1, 2) and seen.shape[:1] == pixels.shape[:1] and seen.size > 0
    if not np.issubdtype(seen.dtype, np.integer) or not fits:
        raise UserError(
            f"study.labels={labels} holds {seen.dtype} of {seen.shape} for {len(pixels)} pictures.",
            "Give one whole number for each picture and reader.",
        )
    if seen.min() < NOTHING or seen.max() >= num_classes:
        raise UserError(
            f"study.labels={labels} has classes from {seen.min()} to {seen.max()}, but the dataset has "
            f"{num_classes}.",
            f"Give classes from 0 to {num_classes - 1}, and −1 for a picture of none of them.",
        )
    return HumanLabels(
        torch.from_numpy(np.ascontiguousarray(pixels)),
        torch.from_numpy(seen.astype(np.int64).reshape(len(pixels), -1)),
    )


def _read(path: str | None, key: str) -> np.ndarray:
    if path is None:
        raise UserError(f"{key} is missing.", f"Give {key}=FILE.npy, or choose another study.")
    try:
        return np.load(Path(path).expanduser(), allow_pickle=False)
    except Exception as error:  # numpy raises errors of many types on a damaged file
        raise UserError(
            f"{key}={path} can't be read: {error or type(error).__name__}.", "Give a .npy file of numbers."
        ) from error
