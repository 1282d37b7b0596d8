"""What is checked and told of a loaded dataset, whatever its source."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import compose
from PIL import Image

from cam_adv.config.compose import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.data.sources import Source
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError

Draw = Callable[[int], np.ndarray]


def write(root: Path, **classes: Draw) -> None:
    """Ten pictures of each class, by their numbers."""
    for name, draw in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(draw(number)).save(root / name / f"{number}.png")


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)


def drawing(level: int) -> Draw:
    """Drawings of one gray level on a transparent ground, of which the colour is that of the ink."""

    def draw(number: int) -> np.ndarray:
        picture = np.full((6, 6, 4), level, np.uint8)
        picture[..., 3] = 255 * (np.arange(36).reshape(6, 6) % (number + 2) == 0)
        return picture

    return draw


def load(root: Path, *overrides: str) -> ImageSplits:
    config = compose(["dataset=image_folder", f"dataset.root={root}", "dataset.size=6", *overrides])
    return load_dataset(settings_from(config).dataset)


def own_source(images: Any, labels: Any, names: Any) -> Source:
    return LabelledImages(images, labels), None, names


class TestEqualImages:
    @pytest.mark.parametrize(("level", "wrong", "right"), [(0, "black", "white"), (255, "white", "black")])
    def test_drawings_that_vanish_on_the_ground_are_refused_with_the_other_ground(
        self, tmp_path: Path, level: int, wrong: str, right: str
    ) -> None:
        write(tmp_path, bars=drawing(level), noise=noise)
        with pytest.raises(UserError) as refused:
            load(tmp_path, f"dataset.background={wrong}")
        assert refused.value.what == (
            f"All 10 images of class bars in image_folder are the same: each pixel is {level}."
        )
        assert refused.value.remedy.startswith(f"Set dataset.background={right} ")
        images = load(tmp_path, f"dataset.background={right}").train.images
        assert len(images.unique(dim=0)) == len(images)

    def test_copies_of_one_picture_are_no_class(self, tmp_path: Path) -> None:
        write(tmp_path, one=lambda number: noise(99), other=noise)
        with pytest.raises(UserError, match="All 10 images of class one in image_folder are the same"):
            load(tmp_path)

    def test_images_of_an_own_source_are_checked_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            f"{__name__}.own_source",
            lambda **_: (
                LabelledImages(torch.zeros(20, 1, 6, 6, dtype=torch.uint8), torch.arange(20) % 2),
                None,
                "ab",
            ),
        )
        with pytest.raises(UserError, match="All 10 images of class a in mnist_5k are the same: each pixel is 0"):
            load_own()


def load_own() -> ImageSplits:
    source = f"{{_target_:{__name__}.own_source,images:1,labels:1,names:1}}"
    settings = settings_from(compose(["~dataset.source", f"+dataset.source={source}"]))
    return load_dataset(settings.dataset)


def test_class_names_of_an_own_source_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (20, 1, 6, 6), dtype=torch.uint8)
    monkeypatch.setattr(
        f"{__name__}.own_source", lambda **_: (LabelledImages(images, torch.arange(20) % 2), None, [0, 1])
    )
    with pytest.raises(UserError, match=r"own_source returns class names that are no texts: \[0, 1\]"):
        load_own()


class TestTold:
    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (("dog", "cat"), "image_folder has 2 classes: 0 cat, 1 dog."),
            (("10", "9", "2"), "image_folder has 3 classes, chosen by name: 2, 9, 10."),
            (("0", "1"), None),
        ],
    )
    def test_numbers_of_the_classes(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], message: str | None
    ) -> None:
        write(tmp_path, **{name: lambda number, name=name: noise(number + 10 * int(name, 36)) for name in names})
        with caplog.at_level(logging.INFO):
            load(tmp_path)
        assert caplog.messages == ([message] if message else [])

    def test_test_images_that_are_training_images_too(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write(tmp_path / "train", a=noise, b=lambda number: noise(number + 50))
        write(tmp_path / "test", a=lambda number: noise(number + 7), b=lambda number: noise(number + 100))
        with caplog.at_level(logging.INFO):
            load(tmp_path)
        assert (
            "3 of the 20 test images of image_folder are also among its training or validation images."
            in caplog.messages
        )
