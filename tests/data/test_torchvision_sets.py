"""Sets of torchvision by the name of their class: from files as it writes them, and by the arguments that it gets."""

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from conftest import CommandResult, compose, write_idx, write_mnist
from PIL import Image
from torchvision import datasets

from cam_adv.config.compose import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.data.sources import TrainingImages
from cam_adv.data.torchvision_sets import SETS, torchvision_set
from cam_adv.errors import UserError

CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Fake:
    """A set of torchvision: four images in each part, whose gray level tells the part; it records its arguments."""

    sizes = ((8, 8),)
    mode = "RGB"
    calls: list[dict[str, Any]]

    def __init__(self, root: str, **arguments: Any) -> None:
        type(self).calls.append({"root": root, **arguments})
        self.level = 10 * len(type(self).calls)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        side = self.sizes[index % len(self.sizes)]
        return Image.new(self.mode, side, self.level if self.mode == "L" else (self.level, 2, 3)), index % 2


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> list[dict[str, Any]]:
    """Put a `Fake` with the signature of a set of torchvision in its place; the calls that it will record."""
    signature = inspect.signature(getattr(datasets, name))
    made = type(name, (Fake,), {"calls": [], "__signature__": signature, **attributes})
    monkeypatch.setattr(datasets, name, made)
    return made.calls  # type: ignore[attr-defined]


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """CIFAR-10's pickles with 10 images in each of the five training batches and in the test batch."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3072), dtype=np.uint8)
    for number, name in enumerate([*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]):
        batch = {"data": pixels[10 * number : 10 * number + 10], "labels": [(3 * k) % 10 for k in range(10)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CIFAR10_CLASSES}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, *_: Path(path).exists())
    return pixels.reshape(-1, 3, 32, 32)


class TestFiles:
    def test_cifar10_is_read_exactly(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pixels = write_cifar10(tmp_path, monkeypatch)
        train, test, names = torchvision_set("CIFAR10", str(tmp_path), download=False, workers=3)
        assert test is not None
        assert torch.equal(train.images, torch.from_numpy(pixels[:50]))
        assert torch.equal(test.images, torch.from_numpy(pixels[50:]))
        assert test.labels.tolist() == [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]
        assert names == tuple(CIFAR10_CLASSES)

    def test_config_loads_splits_with_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_cifar10(tmp_path, monkeypatch)
        overrides = [
            "dataset=torchvision",
            "dataset.set=CIFAR10",
            f"dataset.root={tmp_path}",
            "dataset.download=false",
        ]
        overrides += ["dataset.split.validation=0.2", "dataset.size=16", "dataset.gray=true", "selection.source=cat"]
        settings = settings_from(compose(overrides))
        splits = load_dataset(settings.dataset)
        assert settings.dataset.name == "CIFAR10"
        assert settings.with_class_numbers(splits.class_names).selection.source == 3
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (40, 10, 10)
        assert splits.image_shape == (1, 16, 16)

    def test_mnist_equals_its_own_config(self, tmp_path: Path) -> None:
        write_mnist(tmp_path, train=3, test=2)
        common = [f"dataset.root={tmp_path}", "dataset.download=false", "dataset.split.validation=0.4"]
        own, general = (
            load_dataset(settings_from(compose([*chosen, *common])).dataset)
            for chosen in (["dataset=mnist"], ["dataset=torchvision", "dataset.set=MNIST"])
        )
        assert own.class_names == general.class_names
        for part in ("train", "validation", "test"):
            assert getattr(own, part).digest() == getattr(general, part).digest()

    def test_emnist_letters_stand_upright_and_have_no_class_zero(self, tmp_path: Path) -> None:
        """NIST wrote the images of EMNIST with rows and columns exchanged."""
        raw = tmp_path / "EMNIST" / "raw"
        raw.mkdir(parents=True)
        lying = np.arange(784).reshape(28, 28) % 251
        for part, count in (("train", 52), ("test", 26)):
            labels = np.arange(count) % 26 + 1
            write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", np.broadcast_to(lying, (count, 28, 28)))
            write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", labels)
        train, test, names = torchvision_set("EMNIST", str(tmp_path), False, arguments={"split": "letters"})
        assert test is not None
        assert names == tuple("abcdefghijklmnopqrstuvwxyz")
        assert train.labels.tolist() == [*range(26), *range(26)]
        assert test.images.shape == (26, 1, 28, 28)
        assert torch.equal(test.images[3, 0], torch.from_numpy(lying.T.astype(np.uint8)))

    def test_svhn_is_read_with_digits_as_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, *_: Path(path).exists())
        pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
        labels = np.tile(np.arange(1, 11), 2)[:, None]  # SVHN writes 10 for the digit 0
        for part in ("train", "test"):
            scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels})
        train, _, names = torchvision_set("SVHN", str(tmp_path), download=False)
        assert names == tuple("0123456789")
        assert train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2
        assert torch.equal(train.images[4], torch.from_numpy(pixels[..., 4]).permute(2, 0, 1))

    def test_damaged_files_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_cifar10(tmp_path, monkeypatch)
        (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"\x80")
        with pytest.raises(UserError, match=r"torchvision's CIFAR10, train=False is not in") as refused:
            torchvision_set("CIFAR10", str(tmp_path), download=False)
        assert "dataset.root" in refused.value.remedy


PARTS = {
    "CIFAR100": ({"train": True}, None, {"train": False}),
    "USPS": ({"train": True}, None, {"train": False}),
    "SVHN": ({"split": "train"}, None, {"split": "test"}),
    "Food101": ({"split": "train"}, None, {"split": "test"}),
    "GTSRB": ({"split": "train"}, None, {"split": "test"}),
    "OxfordIIITPet": ({"split": "trainval"}, None, {"split": "test"}),
    "EMNIST": ({"split": "balanced", "train": True}, None, {"split": "balanced", "train": False}),
    "Imagenette": ({"size": "160px", "split": "train"}, None, {"size": "160px", "split": "val"}),
    "DTD": ({"split": "train"}, {"split": "val"}, {"split": "test"}),
    "Flowers102": ({"split": "train"}, {"split": "val"}, {"split": "test"}),
    "Country211": ({"split": "train"}, {"split": "valid"}, {"split": "test"}),
    "EuroSAT": ({}, None, None),
}


class TestArguments:
    @pytest.mark.parametrize(("name", "parts"), PARTS.items(), ids=PARTS)
    def test_each_part_is_asked_for(
        self, name: str, parts: tuple[dict[str, Any] | None, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The images of a part, which its gray level tells, end in the right place."""
        calls = fake(monkeypatch, name)
        pool, test, names = torchvision_set(name, "somewhere", download=False)
        common = {"root": "somewhere", "download": False}
        assert calls == [{**common, **part} for part in parts if part is not None]
        assert names == ("0", "1")
        assert pool.images[:, 0].unique().tolist() == [10]
        assert isinstance(pool, TrainingImages) == (parts[1] is not None)
        if isinstance(pool, TrainingImages):
            assert pool.validation.images[:, 0].unique().tolist() == [20]
        assert (None if test is None else test.images[:, 0].unique().tolist()) == (
            None if parts[2] is None else [10 * len(calls)]
        )

    @pytest.mark.parametrize("name", SETS)
    def test_every_set_has_the_arguments_of_the_table(self, name: str) -> None:
        signature = SETS[name]
        parameters = inspect.signature(getattr(datasets, name)).parameters
        passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for part in (signature.train, signature.validation or {}, signature.test or {}, signature.defaults):
            assert passes_on or part.keys() <= parameters.keys()

    def test_imagenet_is_not_asked_to_download(self, monkeypatch: pytest.MonkeyPatch) -> None:
        classes = [("crane", "lifting"), ("crane", "bird")]
        calls = fake(monkeypatch, "ImageNet", classes=classes)
        _, _, names = torchvision_set("ImageNet", "here", download=True)
        assert calls == [{"root": "here", "split": "train"}, {"root": "here", "split": "val"}]
        assert names == ("crane, lifting", "crane, bird")

    def test_files_are_downloaded_only_where_they_are_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []

        def init(self: Fake, root: str, download: bool, train: bool) -> None:
            calls.append({"download": download, "train": train})
            if not download and not train:
                raise RuntimeError("Dataset not found.")
            self.level = 10

        fake(monkeypatch, "CIFAR10", __init__=init)
        torchvision_set("CIFAR10", "here", download=True)
        assert [(call["train"], call["download"]) for call in calls] == [(True, False), (False, False), (False, True)]

    @pytest.mark.parametrize(("download", "words"), [(True, "could not be"), (False, "may not be")])
    def test_missing_files_are_refused(self, tmp_path: Path, download: bool, words: str, monkeypatch) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise OSError("no network\nat all")

        monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
        with pytest.raises(UserError) as refused:
            torchvision_set("CIFAR10", str(tmp_path), download)
        assert f"CIFAR10, train=True is not in {tmp_path} and {words} downloaded (" in refused.value.what
        assert "mnist_5k" in refused.value.remedy


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "proposed"),
        [("cifar10", "perhaps CIFAR10"), ("Flowers-102", "perhaps Flowers102"), ("Kitti", "USPS")],
    )
    def test_unknown_set_is_refused_with_the_choices(self, name: str, proposed: str) -> None:
        with pytest.raises(UserError) as refused:
            torchvision_set(name, "nowhere", download=True)
        assert refused.value.what.startswith(f"dataset.set={name} is no image classification set")
        assert "CIFAR10, CIFAR100" in refused.value.remedy
        assert proposed in refused.value.remedy

    def test_unknown_set_is_refused_by_the_command(self, command: Callable[..., CommandResult]) -> None:
        answer = command("dataset=torchvision", "dataset.set=cifar10")
        assert answer.code == 2
        assert "cam-adv: dataset.set=cifar10 is no image classification set of torchvision" in answer.err

    @pytest.mark.parametrize("override", ["dataset.arguments={split:letters}", "+dataset.arguments.split=letters"])
    def test_argument_of_the_command_reaches_the_set(
        self, command: Callable[..., CommandResult], override: str
    ) -> None:
        answer = command("dataset=torchvision", "dataset.set=EMNIST", "dataset.download=false", override)
        assert "torchvision's EMNIST, split=letters, train=True is not in" in answer.err

    def test_unknown_argument_is_refused(self) -> None:
        with pytest.raises(UserError) as refused:
            torchvision_set("DTD", "nowhere", False, arguments={"partitoin": 2})
        assert "dataset.arguments.partitoin is no argument of torchvision.datasets.DTD" in refused.value.what
        assert "or write partition" in refused.value.remedy

    def test_argument_that_names_the_part_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"dataset\.arguments\.split is the argument that tells"):
            torchvision_set("SVHN", "nowhere", False, arguments={"split": "extra"})

    @pytest.mark.parametrize("name", ["root", "download", "transform"])
    def test_argument_that_is_set_elsewhere_is_refused(self, name: str) -> None:
        with pytest.raises(UserError, match=rf"dataset\.arguments\.{name} can't be used: "):
            torchvision_set("SVHN", "nowhere", False, arguments={name: "x"})

    def test_root_that_is_null_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"dataset\.root=null names no folder"):
            torchvision_set("SVHN", None, False)  # type: ignore[arg-type]


class TestSizesAndChannels:
    def test_images_of_several_sizes_need_a_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake(monkeypatch, "Food101", sizes=((8, 8), (6, 12)), classes=["pie", "soup"])
        with pytest.raises(UserError, match="differ in size, from 8×8 to 12×6") as refused:
            torchvision_set("Food101", "here", False)
        assert "dataset.size" in refused.value.remedy
        train, _, names = torchvision_set("Food101", "here", False, size=5)
        assert train.images.shape == (4, 3, 5, 5)
        assert names == ("pie", "soup")

    @pytest.mark.parametrize(
        ("mode", "gray", "channels"), [("L", None, 1), ("RGB", None, 3), ("L", False, 3), ("RGB", True, 1)]
    )
    def test_gray_is_a_choice_or_that_of_the_images(
        self, mode: str, gray: bool | None, channels: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake(monkeypatch, "GTSRB", mode=mode)
        train, _, _ = torchvision_set("GTSRB", "here", False, gray=gray)
        assert train.images.shape == (4, channels, 8, 8)

    def test_pictures_are_opaque_and_upright(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6

        def get(self: Fake, index: int) -> tuple[Image.Image, int]:
            picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
            picture.putpixel((0, 0), (255, 0, 0, 255))
            picture.info["exif"] = exif.tobytes()
            return picture, index % 2

        fake(monkeypatch, "Caltech101", __getitem__=get)
        train, _, _ = torchvision_set("Caltech101", "here", False)
        assert train.images.shape == (4, 3, 4, 2)
        assert train.images[0, :, 0].T.tolist() == [[255, 255, 255], [255, 0, 0]]
        train, _, _ = torchvision_set("Caltech101", "here", False, background="black")
        assert train.images[0, :, 0].T.tolist() == [[0, 0, 0], [255, 0, 0]]

    def test_unfit_picture_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake(monkeypatch, "Caltech256", mode="F", __getitem__=lambda self, index: (Image.new("F", (4, 4)), 0))
        with pytest.raises(UserError, match="Image 0 in train of Caltech256 can't be read as a picture: its pixels"):
            torchvision_set("Caltech256", "here", False)

    def test_labels_that_are_no_numbers_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake(monkeypatch, "Caltech101", __getitem__=lambda self, index: (Image.new("L", (4, 4)), np.zeros((2, 9))))
        with pytest.raises(UserError, match=r"The labels in train of Caltech101 are of the type ndarray") as refused:
            torchvision_set("Caltech101", "here", False, arguments={"target_type": "annotation"})
        assert "target_type" in refused.value.remedy
