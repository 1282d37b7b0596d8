"""Pictures that people labelled, to see whether the judge answers as they do."""

from pathlib import Path

import numpy as np
import torch

from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError


def pictures_of_people(
    images: str | None, labels: str | None, shape: tuple[int, int, int], classes: int
) -> LabelledImages:
    """Read two `.npy` files: pictures `(N, H, W)` or `(N, C, H, W)` uint8, and what people saw, `(N,)` integers.

    Args:
        images: path of the pictures.
        labels: path of the labels.
        shape: `(C, H, W)` of the dataset that the judge was trained on.
        classes: its number of classes.

    Raises:
        UserError: a path is missing, a file can't be read, or it holds something else.
    """
    pixels, seen = _read(images, "people.images"), _read(labels, "people.labels")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.dtype != np.uint8 or pixels.shape[1:] != shape:
        raise UserError(
            f"people.images={images} holds {pixels.dtype} pictures of {pixels.shape[1:]}, but the judge reads "
            f"uint8 of {shape}.",
            "Give pictures of the dataset's own size, in 0 to 255.",
        )
    if not np.issubdtype(seen.dtype, np.integer) or seen.shape != pixels.shape[:1] or not len(seen):
        raise UserError(
            f"people.labels={labels} holds {seen.dtype} of {seen.shape} for {len(pixels)} pictures.",
            "Give one whole number for each picture.",
        )
    if seen.min() < 0 or seen.max() >= classes:
        raise UserError(
            f"people.labels={labels} has classes from {seen.min()} to {seen.max()}, but the dataset has {classes}.",
            f"Give classes from 0 to {classes - 1}.",
        )
    return LabelledImages(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(seen.astype(np.int64)))


def _read(path: str | None, key: str) -> np.ndarray:
    if path is None:
        raise UserError(f"{key} is missing.", f"Give {key}=FILE.npy, or choose another stage.")
    try:
        return np.load(Path(path).expanduser(), allow_pickle=False)
    except Exception as error:  # damaged bytes make numpy raise many kinds
        raise UserError(
            f"{key}={path} can't be read: {error or type(error).__name__}.", "Give a .npy file of numbers."
        ) from error
