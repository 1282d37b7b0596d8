"""Datasets of the Hugging Face Hub by name, and local ones in its formats: the extra `cam-adv[huggingface]`."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from cam_adv.data.class_names import numeric_order
from cam_adv.data.pictures import PictureFormat, check_size, unreadable
from cam_adv.data.sources import PARTS, Source, TrainingImages
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.schema.dataset import Background
from cam_adv.schema.wording import nearest

if TYPE_CHECKING:  # an optional dependency
    from datasets import Dataset

log = logging.getLogger(__name__)

SAVED = ("dataset_dict.json", "state.json")
"""Files of a folder that `save_to_disk` has written: one dataset by its splits, or a single split."""

UNLABELLED = -1
"""Label of an image whose class is kept secret."""


def hugging_face_dataset(
    path: str,
    configuration: str | None,
    image_column: str | None,
    label_column: str | None,
    size: int,
    gray: bool,
    background: Background = "white",
) -> Source:
    """A dataset that the package `datasets` loads, with its own splits.

    The splits train, validation and test are used as they are. Without test images, or where their labels are kept
    secret, the validation images take their place.

    Args:
        path: name on the Hub, such as "ylecun/mnist"; or a folder of images or Parquet files, or by `save_to_disk`.
        configuration: for a dataset that has several.
        image_column: None: the only column of type `Image`.
        label_column: None: the only column of type `ClassLabel`; another has its values as classes, in their order.
        size: side in pixels: the shorter side is resized to it, then the centre is cropped.
        gray: one channel instead of three.
        background: on which transparent pictures are laid.

    Raises:
        UserError: the package is missing; the dataset is not there, can't be reached or read; it has no training
            images, or not one column of images and one of classes; its splits number the classes differently, or
            there are labels that are no class.
    """
    try:
        from datasets import ClassLabel
        from datasets import Image as ImageFeature
    except ImportError as error:
        raise UserError(
            "dataset=hugging_face needs the package datasets.", "Install it with pip install 'cam-adv[huggingface]'."
        ) from error
    if path is None:
        raise UserError("dataset.path=null names no dataset.", "Give dataset.path=NAME, such as ylecun/mnist.")
    check_size(size)
    picture_format = PictureFormat(size, gray, background)
    splits = _training_splits(path, _load(path, configuration))
    features = splits["train"].features
    image_column = _column(path, features, image_column, ImageFeature, "image_column")
    label_column = _column(path, features, label_column, ClassLabel, "label_column")

    _check_same_columns(path, splits, image_column, label_column)
    labels = {name: [_known(label) for label in split[label_column]] for name, split in splits.items()}
    if isinstance(features[label_column], ClassLabel):
        class_names = tuple(features[label_column].names)
        number: Mapping[Any, int] = {label: label for label in range(len(class_names))}
        _check_class_labels(path, label_column, labels, class_names)
    else:
        values = _sorted_values(labels, path, label_column)
        class_names = tuple(map(str, values))
        number = {value: label for label, value in enumerate(values)}
    parts = {}
    for name, split in splits.items():
        numbers = torch.tensor([number.get(label, UNLABELLED) for label in labels[name]], dtype=torch.int64)
        labelled = numbers != UNLABELLED
        if not labelled.any():
            continue
        if name == "train" or labelled.all():
            images = _read_images(path, name, split, image_column, picture_format)
            parts[name] = LabelledImages(images, numbers)[labelled]
        if name == "train" and not labelled.all():
            log.info("%s has no label for %d training images: they are left out.", path, int((~labelled).sum()))
    if "train" not in parts:
        raise UserError(
            f"dataset.path={path} has no labelled training images.",
            "Name another column of classes with dataset.label_column, or choose another dataset.",
        )
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        log.info("%s has no labelled test images: its validation images are the test images.", path)
    train = parts["train"]
    if "validation" in parts:
        train = TrainingImages(train.images, train.labels, parts["validation"])
    return train, parts.get("test"), class_names


def _load(path: str, configuration: str | None) -> dict[str, "Dataset"]:
    """All splits of a dataset, by their names; a dataset without splits is called train."""
    from datasets import Dataset, load_dataset, load_from_disk

    folder = Path(path).expanduser()
    try:
        if any((folder / name).is_file() for name in SAVED):
            loaded = load_from_disk(str(folder))
        else:
            loaded = load_dataset(str(folder) if folder.exists() else path, configuration)
    except Exception as error:  # of many types: no such dataset, no network, no configuration, a damaged file
        lines = (str(error) or type(error).__name__).splitlines()
        reason = " ".join(line.strip() for line in lines[:2]).rstrip(".")
        raise UserError(
            f"dataset.path={path} can't be loaded: {reason}.",
            "Give a name of huggingface.co/datasets where the Hub can be reached, with its dataset.configuration if "
            "it has several, or a local folder of images, of Parquet files or by save_to_disk.",
        ) from error
    return {"train": loaded} if isinstance(loaded, Dataset) else {str(name): split for name, split in loaded.items()}


def _training_splits(path: str, splits: Mapping[str, "Dataset"]) -> dict[str, "Dataset"]:
    """The splits by the names train, validation and test; a single one is train, whatever its name."""
    if len(splits) == 1:
        return {"train": next(iter(splits.values()))}
    found = {part: split for part, names in PARTS.items() for name, split in splits.items() if name.lower() in names}
    if "train" not in found:
        raise UserError(
            f"dataset.path={path} has the splits {', '.join(splits)}, and none of them is called train.",
            "Choose another dataset or dataset.configuration, or save one split with save_to_disk.",
        )
    return found


def _column(path: str, features: Mapping[str, Any], given: str | None, kind: type, key: str) -> str:
    """The given column, or the only one of a type."""
    if given is not None:
        if given not in features:
            raise UserError(
                f"dataset.{key}={given}, but dataset.path={path} has the columns {', '.join(features)}.",
                f"Name one of these columns{nearest(given, features)}.",
            )
        return given
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        several = f"the columns {' and '.join(found)}" if found else f"no column, among {', '.join(features)},"
        raise UserError(
            f"dataset.path={path} has {several} of type {kind.__name__}.",
            f"Name the right column with dataset.{key}{'' if found else ', or choose another dataset'}.",
        )
    return found[0]


def _sorted_values(labels: Mapping[str, list[Any]], path: str, column: str) -> list[Any]:
    """The different values of a column of plain values, which are the classes."""
    try:
        found = {value for values in labels.values() for value in values if value is not None}
        return sorted(found, key=numeric_order if all(isinstance(value, str) for value in found) else None)
    except TypeError as error:  # lists and mappings can't be classes, and texts can't be sorted among numbers
        raise UserError(
            f"The column {column} of dataset.path={path} can't be read as classes: {error}.",
            "Name a column with one value for each image with dataset.label_column.",
        ) from error


def _known(label: Any) -> Any:
    """A label; None for NaN, with which tables of numbers say that there is none."""
    return None if isinstance(label, float) and math.isnan(label) else label


def _check_same_columns(path: str, splits: Mapping[str, "Dataset"], image_column: str, label_column: str) -> None:
    """Refuse splits without the columns of the training images, or with other classes in them."""
    train = splits["train"].features[label_column]
    for name, split in splits.items():
        for key, column in (("image_column", image_column), ("label_column", label_column)):
            if column not in split.features:
                raise UserError(
                    f"The split {name} of dataset.path={path} has no column {column}, which train has.",
                    f"Give both the same columns, or name one that both have with dataset.{key}.",
                )
        names = getattr(split.features[label_column], "names", None)
        if names != getattr(train, "names", None):
            raise UserError(
                f"The split {name} of dataset.path={path} numbers its classes otherwise than train.",
                f"Cast its column {label_column} to the ClassLabel of train, and save both with save_to_disk.",
            )


def _check_class_labels(path: str, column: str, labels: Mapping[str, list[Any]], class_names: Sequence[str]) -> None:
    """Refuse labels that are none of the classes; `UNLABELLED` is allowed."""
    for name, values in labels.items():
        if wrong := sorted(set(values) - {None, *range(UNLABELLED, len(class_names))}):
            raise UserError(
                f"The split {name} of dataset.path={path} has labels such as {wrong[0]}, but its column {column} has "
                f"{len(class_names)} classes.",
                f"Give labels from 0 to {len(class_names) - 1}, and -1 where there is none.",
            )


def _read_images(path: str, name: str, split: "Dataset", column: str, picture_format: PictureFormat) -> Tensor:
    """The images of a column, `(N, C, size, size)` uint8."""
    from datasets import Image as ImageFeature

    images: list[Tensor] = []
    try:
        for row in split.select_columns([column]).cast_column(column, ImageFeature()):
            if not isinstance(picture := row[column], Image.Image):
                raise TypeError(f"row {len(images)} holds no picture")
            images.append(picture_format.image(picture, f"Image {len(images)} of {name} in {path}"))
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise unreadable(f"Image {len(images)} of {name} in {path}", error) from error
    except Exception as error:  # of many types: values that are no images, damaged images, missing files
        raise UserError(
            f"The column {column} of dataset.path={path} can't be read as images: {error or type(error).__name__}.",
            "Name the column of images with dataset.image_column, and replace damaged images.",
        ) from error
    return torch.stack(images)
