"""Load a dataset as its settings say."""

import hashlib
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from cam_adv.data.class_names import are_chosen_by_name, listed
from cam_adv.data.sources import TrainingImages
from cam_adv.data.splits import ImageSplits, LabelledImages, split
from cam_adv.errors import UserError
from cam_adv.schema.component import instantiated
from cam_adv.schema.dataset import DatasetSettings

log = logging.getLogger(__name__)


def load_dataset(settings: DatasetSettings) -> ImageSplits:
    """Read the images and split them, where the source has not split them itself.

    Logs how the classes are numbered, and how many test images are copies of others.

    Raises:
        UserError: the source can't be read, its images or labels are invalid, all images of a class are the same, or
            a class is too small for the split.
    """
    pool, test, class_names = instantiated(settings.source)
    source, shape = settings.source["_target_"], tuple(pool.images.shape[1:])
    validation = pool.validation if isinstance(pool, TrainingImages) else None
    if not all(isinstance(name, str) for name in class_names):
        raise UserError(f"{source} returns class names that are no texts: {class_names!r:.80}.", "Return texts.")
    for part in (pool, validation, test):
        if part is not None:
            _check(part, source, shape, len(class_names))
    for part, purpose in ((pool, "train on"), (validation, "validate with")):
        if part is not None and (missing := sorted(set(range(len(class_names))) - set(part.labels.tolist()))):
            raise UserError(
                f"{settings.name} has no image of class {class_names[missing[0]]} to {purpose}.",
                "Add images of this class, or take it out of the dataset's classes.",
            )
    _check_variety(pool, class_names, settings)
    if validation is not None and test is not None:
        splits = ImageSplits(LabelledImages(pool.images, pool.labels), validation, test, tuple(class_names))
    else:
        fractions = settings.split
        splits = split(pool, test, class_names, fractions.validation, fractions.test, fractions.seed)
    _tell_class_numbers(splits.class_names, settings.name)
    _tell_copies(splits, settings.name)
    return splits


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


def _check_variety(pool: LabelledImages, class_names: Sequence[str], settings: DatasetSettings) -> None:
    """Refuse a class of which all images are the same, such as black drawings on a black ground."""
    for label, name in enumerate(class_names):
        members = (pool.labels == label).nonzero().squeeze(1).tolist()
        first = pool.images[members[0]]
        if len(members) == 1 or any(not torch.equal(pool.images[other], first) for other in members[1:]):
            continue
        values = first.unique()
        remedy = "Give each class different images, or leave this one out."
        if len(values) == 1 and settings.background is not None:
            other = "black" if settings.background == "white" else "white"
            remedy = f"Set dataset.background={other} for drawings on a transparent ground, or give other images."
        raise UserError(
            f"All {len(members)} images of class {name} in {settings.name} are the same"
            f"{f': each pixel is {values[0]}' if len(values) == 1 else ''}.",
            remedy,
        )


def _tell_class_numbers(class_names: Sequence[str], dataset: str) -> None:
    """Log which class has which number, unless each is called by its number."""
    if are_chosen_by_name(class_names):
        log.info("%s has %d classes, chosen by name: %s.", dataset, len(class_names), listed(class_names))
    elif class_names != tuple(map(str, range(len(class_names)))):
        numbered = [f"{number} {name}" for number, name in enumerate(class_names)]
        log.info("%s has %d classes: %s.", dataset, len(class_names), listed(numbered))


def _tell_copies(splits: ImageSplits, dataset: str) -> None:
    """Log how many test images stand among the others, too: a result on them says nothing about new images."""
    others = {digest for part in (splits.train, splits.validation) for digest in _digests(part.images)}
    copies = sum(digest in others for digest in _digests(splits.test.images))
    if copies:
        log.info(
            "%d of the %d test images of %s are also among its training or validation images.",
            copies,
            len(splits.test),
            dataset,
        )


def _digests(images: Tensor) -> list[bytes]:
    """A fingerprint of each image."""
    return [hashlib.blake2b(image, digest_size=16).digest() for image in images.contiguous().numpy()]
