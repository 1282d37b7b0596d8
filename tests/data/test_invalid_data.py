"""Invalid data on the command line: a message of two sentences and exit code 2, before anything is trained."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CommandResult, texture_images, write_idx, write_mnist
from PIL import Image

from cam_adv.data.sources import Source
from cam_adv.data.splits import LabelledImages
from cam_adv.training.trainer import TrainingProgress

Damage = Callable[[Path], object]


pytestmark = pytest.mark.slow


def write_image_folder(root: Path) -> None:
    """Two classes of twelve images."""
    for name, images in zip("ab", texture_images(12, 16, seed=2), strict=False):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{number:02d}.png")


def save(array: np.ndarray, mode: str | None = None) -> Damage:
    """Add an image to class b."""
    return lambda root: Image.fromarray(array, mode).save(root / "b" / "03.tif")


def keep_first(root: Path, count: int) -> None:
    for file in sorted((root / "b").iterdir())[count:]:
        file.unlink()


def truncate(file: Path, end: int) -> None:
    file.write_bytes(file.read_bytes()[:end])


FOLDERS: dict[str, tuple[Damage, str | None]] = {
    "not there": (lambda root: root.rename(root.with_name("elsewhere")), "is not a folder"),
    "a file": (lambda root: (root.rename(root.with_name("other")), root.write_text("x")), "is not a folder"),
    "empty": (
        lambda root: [child.rename(root.with_name(child.name)) for child in root.iterdir()],
        "holds no class folders",
    ),
    "one class": (lambda root: (root / "b").rename(root.with_name("b")), "holds one class folder, "),
    "all but one hidden": (lambda root: (root / "b").rename(root / ".b"), "holds one class folder, "),
    "an empty class": (lambda root: (root / "häuser").mkdir(), "häuser is empty"),
    "a class of hidden files": (lambda root: ((root / "c").mkdir(), (root / "c/.x").touch()), "c is empty"),
    "a class of folders": (
        lambda root: (root / "c" / "deeper").mkdir(parents=True),
        "c holds no pictures, but the folder",
    ),
    "text": (lambda root: (root / "b" / "03.png").write_text("no picture"), "03.png can't be read as a picture"),
    "notes among pictures": (lambda root: (root / "b" / "notes.txt").write_text("mine"), "notes.txt can't be read"),
    "no bytes": (lambda root: (root / "b" / "03.png").write_bytes(b""), "03.png can't be read as a picture"),
    "cut short": (lambda root: truncate(root / "b" / "03.png", -30), "03.png can't be read as a picture"),
    "only a header": (lambda root: truncate(root / "b" / "03.png", 20), "03.png can't be read as a picture"),
    "a link to nothing": (lambda root: (root / "b" / "99.png").symlink_to("nowhere"), None),
    "NaN": (save(np.full((16, 16), np.nan, np.float32)), "floating-point numbers"),
    "outside [0, 1]": (save(np.full((16, 16), 7.5, np.float32)), "floating-point numbers"),
    "too few for the split": (lambda root: keep_first(root, 1), "too few for a split"),
    "too few for a fold": (lambda root: keep_first(root, 2), "too few for a split"),
}

RAW = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"
MNIST: dict[str, tuple[Damage, str]] = {
    "no file": (lambda raw: (raw / RAW).unlink(), "can't be read|is not in"),
    "no labels": (lambda raw: (raw / LABELS).unlink(), "can't be read|is not in"),
    "images cut short": (lambda raw: truncate(raw / RAW, -1), "can't be read"),
    "only a header": (lambda raw: truncate(raw / RAW, 16), "can't be read"),
    "half a header": (lambda raw: truncate(raw / RAW, 7), "can't be read"),
    "no bytes": (lambda raw: truncate(raw / RAW, 0), "can't be read"),
    "still packed": (lambda raw: (raw / RAW).write_bytes(gzip.compress((raw / RAW).read_bytes())), "can't be read"),
    "a web page": (lambda raw: (raw / RAW).write_text("<html>not found</html>"), "can't be read"),
    "labels for images": (lambda raw: (raw / RAW).write_bytes((raw / LABELS).read_bytes()), "can't be read|images"),
    "fewer labels": (lambda raw: write_idx(raw / LABELS, np.arange(30) % 10), "30 labels"),
    "a label that isn't there": (lambda raw: write_idx(raw / LABELS, np.arange(200) % 11), "from 0 to 10"),
    "a class without images": (lambda raw: write_idx(raw / LABELS, np.arange(200) % 9), "no image of class 9"),
    "a false size in the header": (
        lambda raw: (raw / RAW).write_bytes(b"\0\0\x08\x03\x7f\xff\xff\xff" * 2),
        "can't be read",
    ),
}


def invalid_source(kind: str) -> Source:
    """Invalid results of a user's own source."""
    images = (torch.rand(60, 1, 16, 16) * 255).to(torch.uint8)
    labels, test, names = torch.arange(60) % 3, None, ("a", "b", "c")
    if kind == "floats":
        images = images / 255
    if kind == "NaN":
        images = images * torch.nan
    if kind == "two channels":
        images = images.expand(-1, 2, -1, -1)
    if kind == "channels last":
        images = images.permute(0, 2, 3, 1)
    if kind == "flat":
        images = images.flatten(1)
    if kind == "no images":
        images, labels = images[:0], labels[:0]
    if kind == "labels of floats":
        labels = labels.float()
    if kind == "one-hot labels":
        labels = torch.nn.functional.one_hot(labels)
    if kind == "labels from 1":
        labels = labels + 1
    if kind == "negative labels":
        labels = labels - 1
    if kind == "fewer labels":
        labels = labels[:-1]
    if kind == "a class too many":
        names = (*names, "d")
    if kind == "test images of another size":
        test = LabelledImages(images[:, :, :8], labels)
    return LabelledImages(images, labels), test, names


INVALID_SOURCES = {
    "floats": "images of torch.float32",
    "NaN": "images of torch.float32",
    "two channels": "shape (60, 2, 16, 16)",
    "channels last": "shape (60, 16, 16, 1)",
    "flat": "shape (60, 256)",
    "no images": "shape (0, 1, 16, 16)",
    "labels of floats": "labels of torch.float32",
    "one-hot labels": "shape (60, 3) for 60 images",
    "labels from 1": "labels from 1 to 3 for 3 classes",
    "negative labels": "labels from -1 to 1 for 3 classes",
    "fewer labels": "shape (59,) for 60 images",
    "a class too many": "no image of class d",
    "test images of another size": "test images of (1, 8, 16) beside others of (1, 16, 16)",
}


def human_labels(root: Path, images: object, labels: object) -> list[str]:
    for name, content in (("images", images), ("labels", labels)):
        if isinstance(content, bytes):
            (root / f"{name}.npy").write_bytes(content)
        elif content is not None:
            np.save(root / f"{name}.npy", content, allow_pickle=True)
    return ["study=judge_agreement", f"study.images={root}/images.npy", f"study.labels={root}/labels.npy"]


BLANK = np.zeros((4, 16, 16), np.uint8)
HUMAN_LABELS: dict[str, tuple[object, object, str]] = {
    "no file": (None, np.zeros(4, int), "can't be read"),
    "no array": (b"a text", np.zeros(4, int), "can't be read"),
    "a pickle": (pickle.dumps(BLANK), np.zeros(4, int), "can't be read"),
    "objects": (np.array([{}], object), np.zeros(1, int), "can't be read"),
    "floats": (BLANK / 255, np.zeros(4, int), "float64 pictures"),
    "another size": (BLANK[:, 1:], np.zeros(4, int), "pictures of (15, 16)"),
    "fewer labels": (BLANK, np.zeros(3, int), "of (3,) for 4 pictures"),
    "no pictures": (BLANK[:0], np.zeros(0, int), "for 0 pictures"),
    "labels of floats": (BLANK, np.zeros(4), "holds float64"),
    "a label that isn't there": (BLANK, np.full(4, 3), "classes from 3 to 3"),
    "a label below nothing": (BLANK, np.array([[0, -2]] * 4), "classes from -2 to 0"),
    "a third dimension of labels": (BLANK, np.zeros((4, 1, 1), int), "of (4, 1, 1) for 4 pictures"),
    "no readers": (BLANK, np.zeros((4, 0), int), "of (4, 0) for 4 pictures"),
}


@pytest.fixture(autouse=True)
def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test as soon as a training starts."""
    monkeypatch.setattr(TrainingProgress, "on_train_start", lambda *_: pytest.fail("a training started"))


def assert_refused(answer: CommandResult, message: str) -> None:
    lines = answer.err[answer.err.index("cam-adv: ") :].strip().splitlines()
    assert answer.code == 2
    assert any(fragment in lines[0] for fragment in message.split("|")), lines
    assert len(lines) == 2
    assert all(sentence.strip().endswith(".") for sentence in lines)
    assert "Traceback" not in answer.err
    assert not Path("outputs/models").exists()


@pytest.mark.parametrize("name", [name for name, (_, message) in FOLDERS.items() if message])
def test_invalid_image_folder_is_refused(
    command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path, name: str
) -> None:
    damage, message = FOLDERS[name]
    write_image_folder(tmp_path / "data")
    damage(tmp_path / "data")
    assert_refused(command(*tiny, f"dataset.root={tmp_path / 'data'}"), message)


@pytest.mark.parametrize("size", ["0", "-3", "2.5", "x", "true", "null"])
def test_invalid_image_size_is_refused(command: Callable[..., CommandResult], tiny: list[str], size: str) -> None:
    assert_refused(command(*tiny, f"dataset.size={size}"), f"dataset.size={size} ")


@pytest.mark.parametrize("name", MNIST)
def test_invalid_mnist_files_are_refused(command: Callable[..., CommandResult], tmp_path: Path, name: str) -> None:
    damage, message = MNIST[name]
    write_mnist(tmp_path / "data", train=20, test=5)
    damage(tmp_path / "data" / "MNIST" / "raw")
    assert_refused(command("dataset=mnist", f"dataset.root={tmp_path / 'data'}", "dataset.download=false"), message)


@pytest.mark.parametrize("name", INVALID_SOURCES)
def test_invalid_result_of_own_source_is_refused(
    command: Callable[..., CommandResult], tiny: list[str], name: str
) -> None:
    source = "{_target_:" + f"{__name__}.invalid_source,kind:'{name}'" + "}"
    answer = command(*tiny, "~dataset.source", f"+dataset.source={source}")
    assert_refused(answer, INVALID_SOURCES[name])


@pytest.mark.parametrize("name", HUMAN_LABELS)
def test_invalid_human_labels_are_refused(
    command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path, name: str
) -> None:
    images, labels, message = HUMAN_LABELS[name]
    assert_refused(command(*tiny, *human_labels(tmp_path, images, labels)), message)


def test_broken_link_in_image_folder_is_ignored(
    command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
) -> None:
    """The other 24 images are read, too few for `selection.images`."""
    write_image_folder(tmp_path / "data")
    FOLDERS["a link to nothing"][0](tmp_path / "data")
    answer = command(
        *tiny, f"dataset.root={tmp_path / 'data'}", "selection.images=4000", "dataset.example_pairs=[[0,1]]"
    )
    assert_refused(answer, "selection.images=4000, but only")
