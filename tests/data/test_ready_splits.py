"""Image folders that are split already: `root/train/<class>`, `root/test/<class>`, and perhaps `root/val/<class>`."""

import logging
from pathlib import Path

import numpy as np
import pytest
from conftest import compose
from PIL import Image

from cam_adv.config.compose import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.data.sources import TrainingImages, image_folder
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError


def write(folder: Path, values: list[int]) -> None:
    """Images of one gray level each."""
    folder.mkdir(parents=True)
    for number, value in enumerate(values):
        Image.fromarray(np.full((6, 6), value, np.uint8)).save(folder / f"{number:02d}.png")


def write_parts(root: Path, **parts: int) -> None:
    """So many images of each of two classes in each part: gray levels 0 … of cat and 100 … of dog."""
    for start, (part, count) in zip((0, 40, 70), parts.items(), strict=False):
        for offset, name in ((0, "cat"), (100, "dog")):
            write(root / part / name, [start + offset + number for number in range(count)])


def load(root: Path, *overrides: str) -> ImageSplits:
    config = compose(["dataset=image_folder", f"dataset.root={root}", "dataset.size=6", *overrides])
    return load_dataset(settings_from(config).dataset)


def levels(splits: ImageSplits, part: str) -> list[int]:
    return sorted(getattr(splits, part).images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_three_parts_are_used_as_they_are(tmp_path: Path, validation: str, caplog: pytest.LogCaptureFixture) -> None:
    write_parts(tmp_path, train=5, test=3, **{validation: 2})
    with caplog.at_level(logging.INFO):
        splits = load(tmp_path)
    assert splits.class_names == ("cat", "dog")
    assert levels(splits, "train") == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
    assert levels(splits, "test") == [40, 41, 42, 140, 141, 142]
    assert levels(splits, "validation") == [70, 71, 170, 171]
    assert splits.validation.labels.tolist() == [0, 0, 1, 1]
    assert type(splits.train) is type(splits.test)
    assert (
        f"{tmp_path} is already split: 10 images in train, 4 images in {validation}, 6 images in test" in caplog.text
    )


def test_validation_is_drawn_from_train_where_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_parts(tmp_path, train=20, test=3)
    with caplog.at_level(logging.INFO):
        splits = load(tmp_path, "dataset.split.validation=0.25")
    assert levels(splits, "test") == [40, 41, 42, 140, 141, 142]
    assert splits.validation.labels.tolist() == [0] * 5 + [1] * 5
    together = sorted(levels(splits, "train") + levels(splits, "validation"))
    assert together == [*range(20), *range(100, 120)]
    assert "validation images are drawn from those to train on" in caplog.text


def test_classes_called_train_and_test_stay_classes(tmp_path: Path) -> None:
    """Signs of railways and of examinations: images directly inside, even with a folder beside them."""
    write(tmp_path / "train", [1, 2, 3])
    write(tmp_path / "test", [4, 5])
    (tmp_path / "train" / "raw").mkdir()
    pool, test, names = image_folder(str(tmp_path), 6, gray=True)
    assert (names, test, pool.labels.tolist()) == (("test", "train"), None, [0, 0, 1, 1, 1])
    assert not isinstance(pool, TrainingImages)


def test_files_that_are_no_images_may_lie_beside_the_classes(tmp_path: Path) -> None:
    write_parts(tmp_path, train=4, test=2)
    (tmp_path / "train" / "labels.csv").write_text("cat,dog")
    (tmp_path / "test" / ".hidden").mkdir()
    _, test, names = image_folder(str(tmp_path), 6, gray=True)
    assert test is not None
    assert (names, len(test)) == (("cat", "dog"), 4)


@pytest.mark.parametrize(
    ("parts", "change", "what", "remedy"),
    [
        (("train", "test"), ["test/dog", None], "test has no class folder dog, which", "the same classes"),
        (("train", "test"), [None, "test/fox"], "train has no class folder fox, which", "the same classes"),
        (("train", "val", "test"), ["val/cat", None], "val has no class folder cat, which", "the same classes"),
        (("train", "val"), [None, None], "holds train and val with class folders inside, but no test", "val to test"),
        (("train",), [None, None], "holds train with class folders inside, but no test", "dataset.root="),
        (("test",), [None, None], "holds test with class folders inside, but no train", "dataset.root="),
        (("train", "test"), [None, "birds"], "holds birds beside train, test", "nothing beside"),
        (("train", "valid", "val"), [None, None], "holds val and valid, which mean the same part", "nothing beside"),
    ],
    ids=lambda part: " ".join(map(str, part)) if isinstance(part, tuple | list) else "",
)
def test_incomplete_split_is_refused(
    tmp_path: Path, parts: tuple[str, ...], change: list[str | None], what: str, remedy: str
) -> None:
    write_parts(tmp_path, **dict.fromkeys(parts, 2))
    removed, added = change
    if removed:
        (tmp_path / removed).rename(tmp_path / "train" / ".gone")
    if added:
        write(tmp_path / added, [1])
    with pytest.raises(UserError) as refused:
        image_folder(str(tmp_path), 6, gray=True)
    assert what in refused.value.what
    assert remedy in refused.value.remedy


def test_part_without_classes_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, train=2)
    write(tmp_path / "test", [1, 2])
    with pytest.raises(UserError, match="test holds no class folders, but other parts"):
        image_folder(str(tmp_path), 6, gray=True)


def test_single_class_in_the_parts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "cat", [1])
    write(tmp_path / "test" / "cat", [1])
    with pytest.raises(UserError, match="train holds one class folder, cat"):
        image_folder(str(tmp_path), 6, gray=True)


def test_empty_class_in_a_part_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, train=2, test=2)
    for file in (tmp_path / "test" / "cat").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="cat is empty"):
        image_folder(str(tmp_path), 6, gray=True)
