"""Load a dataset as its settings say."""

import torch
from hydra.utils import instantiate

from cam_adv.data.sources import TrainingImages
from cam_adv.data.splits import ImageSplits, LabelledImages, split
from cam_adv.errors import UserError
from cam_adv.schema.dataset import DatasetSettings


def load_dataset(settings: DatasetSettings) -> ImageSplits:
    """Read the images and split them, where the source has not split them itself.

    Raises:
        UserError: the source can't be read, its images or labels are invalid, or a class is too small for the split.
    """
    pool, test, class_names = instantiate(settings.source)
    source, shape = settings.source["_target_"], tuple(pool.images.shape[1:])
    validation = pool.validation if isinstance(pool, TrainingImages) else None
    for part in (pool, validation, test):
        if part is not None:
            _check(part, source, shape, len(class_names))
    for part, purpose in ((pool, "train on"), (validation, "validate with")):
        if part is not None and (missing := sorted(set(range(len(class_names))) - set(part.labels.tolist()))):
            raise UserError(
                f"{source} has no image of class {class_names[missing[0]]} to {purpose}.",
                "Add images of this class, or leave it out.",
            )
    if validation is not None and test is not None:
        return ImageSplits(LabelledImages(pool.images, pool.labels), validation, test, tuple(class_names))
    fractions = settings.split
    return split(pool, test, class_names, fractions.validation, fractions.test, fractions.seed)


def _check(part: LabelledImages, source: str, shape: tuple[int, ...], num_classes: int) -> None:
    """Check what a source, which may be the user's own, returns: types, shapes and ranges."""
    images, labels = part.images, part.labels
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise UserError(
            f"{source} returns images of {images.dtype} and shape {tuple(images.shape)}.",
            "Return uint8 in 0 to 255 of shape (N, C, H, W), with 1 or 3 channels: pixels in [0, 1] times 255.",
        )
    if tuple(images.shape[1:]) != shape:
        raise UserError(
            f"{source} returns test images of {tuple(images.shape[1:])} beside others of {shape}.",
            "Return images of one size.",
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise UserError(
            f"{source} returns labels of {labels.dtype} and shape {tuple(labels.shape)} for {len(images)} images.",
            "Return one int64 label for each image.",
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"{source} returns labels from {labels.min()} to {labels.max()} for {num_classes} classes.",
            f"Return labels from 0 to {num_classes - 1}.",
        )
