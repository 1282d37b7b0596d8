"""Images with labels from people, to measure how often the judge agrees with them."""

from pathlib import Path

import numpy as np
import torch

from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError


def load_human_labels(
    images: str | None, labels: str | None, shape: tuple[int, int, int], num_classes: int
) -> LabelledImages:
    """Read two `.npy` files: images `(N, H, W)` or `(N, C, H, W)` uint8, and what people saw, `(N,)` integers.

    Args:
        images: path of the images.
        labels: path of the labels.
        shape: `(C, H, W)` of the dataset that the judge was trained on.
        num_classes: K of that dataset.

    Raises:
        UserError: a path is missing, a file can't be read, or its content has another type, shape or range.
    """
    pixels, classes = _read(images, "study.images"), _read(labels, "study.labels")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.dtype != np.uint8 or pixels.shape[1:] != shape:
        raise UserError(
            f"study.images={images} holds {pixels.dtype} pictures of {pixels.shape[1:]}, but the judge reads "
            f"uint8 of {shape}.",
            "Give pictures of the dataset's own size, in 0 to 255.",
        )
    if not np.issubdtype(classes.dtype, np.integer) or classes.shape != pixels.shape[:1] or not len(classes):
        raise UserError(
            f"study.labels={labels} holds {classes.dtype} of {classes.shape} for {len(pixels)} pictures.",
            "Give one whole number for each picture.",
        )
    if classes.min() < 0 or classes.max() >= num_classes:
        raise UserError(
            f"study.labels={labels} has classes from {classes.min()} to {classes.max()}, but the dataset has "
            f"{num_classes}.",
            f"Give classes from 0 to {num_classes - 1}.",
        )
    return LabelledImages(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(classes.astype(np.int64)))


def _read(path: str | None, key: str) -> np.ndarray:
    if path is None:
        raise UserError(f"{key} is missing.", f"Give {key}=FILE.npy, or choose another study.")
    try:
        return np.load(Path(path).expanduser(), allow_pickle=False)
    except Exception as error:  # numpy raises errors of many types on a damaged file
        raise UserError(
            f"{key}={path} can't be read: {error or type(error).__name__}.", "Give a .npy file of numbers."
        ) from error
