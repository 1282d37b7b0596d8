"""Any image classification set of torchvision, by the name of its class, with its own parts and class names."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cam_adv.data.pictures import GRAY_MODES, PictureFormat
from cam_adv.data.sources import Source, TrainingImages, check_root
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.schema.dataset import Background
from cam_adv.schema.wording import nearest

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Signature:
    """The arguments with which a class of `torchvision.datasets` returns each part of its images.

    test: None for a set without test images of its own. validation: None for one without validation images.
    defaults: of further arguments that the class needs. transposed: its files have rows and columns exchanged.
    """

    train: Arguments
    test: Arguments | None
    validation: Arguments | None = None
    defaults: Arguments = field(default_factory=dict)
    transposed: bool = False


BY_TRAIN = Signature({"train": True}, {"train": False})
BY_SPLIT = Signature({"split": "train"}, {"split": "test"})
WITH_VALIDATION = Signature({"split": "train"}, {"split": "test"}, {"split": "val"})
WITHOUT_TEST = Signature({}, None)

SETS: dict[str, Signature] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), BY_TRAIN),
    **dict.fromkeys(("Food101", "GTSRB", "STL10", "StanfordCars", "SVHN"), BY_SPLIT),
    **dict.fromkeys(("DTD", "FGVCAircraft", "Flowers102", "PCAM", "RenderedSST2"), WITH_VALIDATION),
    **dict.fromkeys(("Caltech101", "Caltech256", "EuroSAT", "SEMEION", "SUN397"), WITHOUT_TEST),
    # The few with arguments or parts of their own:
    "Country211": Signature({"split": "train"}, {"split": "test"}, {"split": "valid"}),
    "EMNIST": Signature({"train": True}, {"train": False}, defaults={"split": "balanced"}, transposed=True),
    "ImageNet": Signature({"split": "train"}, {"split": "val"}),
    "Imagenette": Signature({"split": "train"}, {"split": "val"}, defaults={"size": "160px"}),
    "OxfordIIITPet": Signature({"split": "trainval"}, {"split": "test"}),
}
"""How each set is loaded; where the test images have no public labels, the validation images are the test images."""

SET_ELSEWHERE = {
    "root": "the folder is dataset.root",
    "download": "whether to download is dataset.download",
    **dict.fromkeys(("transform", "target_transform", "transforms", "loader"), "it is no value, but code"),
}
"""Arguments of the classes that `dataset.arguments` can't give, and why."""

NO_CLASS = "N/A"
"""What EMNIST's letters call the class 0 that none of them has."""


def torchvision_set(
    dataset: str,
    root: str,
    download: bool,
    size: int | None = None,
    gray: bool | None = None,
    background: Background = "white",
    arguments: Arguments | None = None,
    workers: int = 1,
) -> Source:
    """A set of `torchvision.datasets`, in its own parts; see `SETS`.

    Args:
        dataset: the name of its class.
        root: the folder that torchvision looks into, and downloads to.
        download: whether to download missing files.
        size: side in pixels: the shorter side is resized to it, then the centre is cropped. None: the images keep
            their size, which must be the same.
        gray: one channel instead of three. None: as the first image is.
        background: on which transparent pictures are laid.
        arguments: further ones of the class, such as EMNIST's `split`.
        workers: threads that read images; the result doesn't depend on their number.

    Raises:
        UserError: there is no such set, its files are missing, can't be downloaded or are damaged, or its images
            differ in size and `size` is None.
    """
    if dataset not in SETS:
        spelt = {name.lower(): name for name in SETS}
        close = difflib.get_close_matches(str(dataset).lower(), spelt, n=1)
        raise UserError(
            f"dataset.set={dataset} is no image classification set of torchvision that this package reads.",
            f"Choose from {', '.join(sorted(SETS, key=str.lower))}{f'; perhaps {spelt[close[0]]}' if close else ''}.",
        )
    check_root(root)
    signature, root = SETS[dataset], str(Path(root).expanduser())
    further = {**signature.defaults, **(arguments or {})}
    wanted = {"train": signature.train, "validation": signature.validation, "test": signature.test}
    parts = {
        name: _open(dataset, root, download, further, of_part)
        for name, of_part in wanted.items()
        if of_part is not None
    }
    try:
        for name, part in parts.items():
            if not len(part):  # type: ignore[arg-type]  # every set has a length
                raise ValueError(f"there are no images in {name}")
        if gray is None:
            gray = parts["train"][0][0].mode in GRAY_MODES
        picture_format = PictureFormat(size, gray, background)
        read = {name: _read(part, f"{name} of {dataset}", picture_format, workers) for name, part in parts.items()}
    except UserError:
        raise
    except Exception as error:  # torchvision and Pillow raise errors of many types on damaged files
        raise UserError(
            f"An image of {dataset} in {root} can't be read: {error or type(error).__name__}.",
            "Delete its folder and run with dataset.download=true, or put whole files there.",
        ) from error
    if len(shapes := {tuple(images.shape[1:]) for images, _ in read.values()}) > 1:
        raise UserError(
            f"The parts of {dataset} have images of {' and '.join(map(str, sorted(shapes)))}.",
            "Set dataset.size to a number of pixels, and dataset.gray to true or false.",
        )
    names = _class_names(parts["train"], max(max(labels) for _, labels in read.values()) + 1)
    first = 1 if names[0] == NO_CLASS else 0
    labelled = {
        name: LabelledImages(
            images.transpose(2, 3).contiguous() if signature.transposed else images, torch.tensor(labels) - first
        )
        for name, (images, labels) in read.items()
    }
    train, validation = labelled["train"], labelled.get("validation")
    pool = train if validation is None else TrainingImages(train.images, train.labels, validation)
    return pool, labelled.get("test"), names[first:]


def _open(
    dataset: str, root: str, download: bool, further: Arguments, of_part: Arguments
) -> Dataset[tuple[Any, Any]]:
    """One part of a set; it is downloaded only where it can't be opened without.

    Raises:
        UserError: an argument is unknown; the files are missing, can't be downloaded or are damaged.
    """
    from torchvision import datasets

    found = getattr(datasets, dataset)
    parameters = inspect.signature(found).parameters
    passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in further:
        if name in SET_ELSEWHERE:
            raise UserError(
                f"dataset.arguments.{name} can't be used: {SET_ELSEWHERE[name]}.",
                "Remove it from dataset.arguments.",
            )
        if name in of_part:
            raise UserError(
                f"dataset.arguments.{name} is the argument that tells the parts of {dataset} from each other.",
                "Remove it: every part is read.",
            )
        if name not in parameters and not passes_on:
            raise UserError(
                f"dataset.arguments.{name} is no argument of torchvision.datasets.{dataset}, which takes "
                f"{', '.join(parameters)}.",
                f"Remove it{nearest(name, list(parameters))}.",
            )
    open_part = partial(found, root, **further, **of_part)
    # ImageNet passes its further arguments on to a class that doesn't download.
    can_download = "download" in parameters or (passes_on and dataset != "ImageNet")
    try:
        try:
            return open_part(**({"download": False} if can_download else {}))
        except Exception:  # torchvision raises errors of many types on missing and on damaged files
            if not (download and can_download):
                raise
            return open_part(download=True)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        arguments = "".join(f", {name}={value}" for name, value in {**further, **of_part}.items())
        raise UserError(
            f"torchvision's {dataset}{arguments} is not in {root} and "
            f"{'could not be downloaded' if download and can_download else 'may not be downloaded'} ({reason}).",
            f"Put the files that torchvision.datasets.{dataset} reads into dataset.root, or run with "
            "dataset.download=true where the network allows it; dataset=mnist_5k needs no download.",
        ) from error


def _read(
    part: Dataset[tuple[Any, Any]], title: str, picture_format: PictureFormat, workers: int
) -> tuple[Tensor, list[int]]:
    """All images of a part, `(N, C, H, W)` uint8, and their labels."""
    count = len(part)  # type: ignore[arg-type]  # every set has a length

    def read(index: int) -> tuple[Tensor, int]:
        picture, label = part[index]
        if not isinstance(label, int | np.integer):
            raise UserError(
                f"The labels in {title} are of the type {type(label).__name__}, not whole numbers.",
                "Remove what asks for them from dataset.arguments, such as target_type.",
            )
        return picture_format.image(picture, f"Image {index} in {title}"), int(label)

    with ThreadPoolExecutor(workers) as threads:
        images, labels = zip(*threads.map(read, range(count)), strict=True)
    if len(shapes := {tuple(image.shape[1:]) for image in images}) > 1:
        smallest, largest = min(shapes), max(shapes)
        raise UserError(
            f"The images differ in size, from {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]} pixels.",
            "Set dataset.size to a number of pixels, such as 64.",
        )
    return torch.stack(images), list(labels)


def _class_names(part: Any, count: int) -> tuple[str, ...]:
    """The names of a set's classes: its own, or numbers up to `count`."""
    named: Sequence[Any] | None = getattr(part, "classes", None) or getattr(part, "categories", None)
    if named is None and (numbered := getattr(part, "class_to_idx", None)):
        named = sorted(numbered, key=numbered.__getitem__)
    if named is None:
        return tuple(map(str, range(count)))
    synonyms = [name if isinstance(name, tuple) else (str(name).split(" - ")[0],) for name in named]
    first = tuple(names[0] for names in synonyms)
    return first if len(set(first)) == len(first) else tuple(", ".join(names) for names in synonyms)
