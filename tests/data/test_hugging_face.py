"""Datasets of Hugging Face: with a stand-in for its package, and from files of every format where it is installed."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLASS_NAMES, compose, save_image_folder, texture_images
from PIL import Image

from cam_adv.config.compose import settings_from
from cam_adv.data.hugging_face import hugging_face_dataset
from cam_adv.data.load import load_dataset
from cam_adv.data.sources import Source, TrainingImages, image_folder
from cam_adv.errors import UserError


class ClassLabel:
    """A type of column: classes with names."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


ImageColumn = type("Image", (), {})
"""A type of column: images."""


class Split:
    """A stand-in for a dataset: gray images of 4×4 pixels, of which the levels are given."""

    def __init__(self, levels: list[int], labels: list[Any], features: Mapping[str, Any]) -> None:
        self.columns: dict[str, list[Any]] = {
            "picture": [Image.new("L", (4, 4), level) for level in levels],
            "label": labels,
            "note": ["text"] * len(levels),
        }
        self.features = features

    def __getitem__(self, column: str) -> list[Any]:
        return self.columns[column]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"picture": picture} for picture in self.columns["picture"])

    def select_columns(self, columns: list[str]) -> "Split":
        assert columns == ["picture"]
        return self

    def cast_column(self, column: str, feature: Any) -> "Split":
        assert (column, type(feature)) == ("picture", ImageColumn)
        return self


FEATURES = {"picture": ImageColumn(), "label": ClassLabel(["cat", "dog"]), "note": "string"}


def stand_in(monkeypatch: pytest.MonkeyPatch, splits: Mapping[str, Split] | Exception) -> list[tuple[Any, ...]]:
    """Put a module that loads these splits in place of `datasets`; the arguments that it will get."""
    calls: list[tuple[Any, ...]] = []

    def load(*arguments: Any) -> Mapping[str, Split]:
        calls.append(arguments)
        if isinstance(splits, Exception):
            raise splits
        return splits

    module = SimpleNamespace(ClassLabel=ClassLabel, Image=ImageColumn, Dataset=Split, load_dataset=load)
    module.load_from_disk = load
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def load(path: str = "some/set", **arguments: Any) -> Source:
    defaults = {"configuration": None, "image_column": None, "label_column": None, "size": 4, "gray": True}
    return hugging_face_dataset(path, **(defaults | arguments))


def levels(part: Any) -> list[int]:
    """The gray level of each image."""
    return part.images[:, 0, 0, 0].tolist()


def split(*pictures: int, labels: list[Any] | None = None, features: Mapping[str, Any] = FEATURES) -> Split:
    return Split(list(pictures), [level % 2 for level in pictures] if labels is None else labels, features)


class TestSplits:
    def test_train_validation_and_test_are_used_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        splits = {"train": split(10, 11), "test": split(30), "validation": split(20, 21), "extra": split(99)}
        calls = stand_in(monkeypatch, splits)
        train, test, names = load(configuration="plain")
        assert calls == [("some/set", "plain")]
        assert isinstance(train, TrainingImages)
        assert test is not None
        assert (levels(train), levels(train.validation), levels(test)) == ([10, 11], [20, 21], [30])
        assert (train.labels.tolist(), train.validation.labels.tolist()) == ([0, 1], [0, 1])
        assert names == ("cat", "dog")
        assert (train.images.dtype, train.images.shape) == (torch.uint8, (2, 1, 4, 4))

    def test_single_split_is_to_be_split(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in(monkeypatch, {"all": split(10, 11, 12)})
        train, test, _ = load()
        assert (levels(train), test, isinstance(train, TrainingImages)) == ([10, 11, 12], None, False)

    @pytest.mark.parametrize("hidden", [-1, None])
    def test_validation_images_stand_for_test_images_without_labels(
        self, monkeypatch: pytest.MonkeyPatch, hidden: int | None
    ) -> None:
        splits = {"train": split(10, 11), "val": split(20, 21), "test": split(30, labels=[hidden])}
        stand_in(monkeypatch, splits)
        train, test, _ = load()
        assert test is not None
        assert (levels(train), levels(test), isinstance(train, TrainingImages)) == ([10, 11], [20, 21], False)

    def test_unlabelled_training_images_are_left_out_in_words(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        stand_in(monkeypatch, {"train": split(10, 11, 12, labels=[1, -1, 0]), "test": split(30)})
        with caplog.at_level("INFO"):
            train, _, _ = load()
        assert (levels(train), train.labels.tolist()) == ([10, 12], [1, 0])
        assert "some/set has no label for 1 training images" in caplog.text

    @pytest.mark.parametrize("labels", [[], [-1, -1]])
    def test_training_images_without_any_label_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, labels: list[int]
    ) -> None:
        stand_in(monkeypatch, {"train": split(*range(len(labels)), labels=labels), "test": split(30)})
        with pytest.raises(UserError, match=r"dataset\.path=some/set has no labelled training images"):
            load()

    def test_size_that_is_no_number_of_pixels_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in(monkeypatch, {"all": split(10, 11, 12)})
        with pytest.raises(UserError, match=r"dataset\.size=null is no side of a picture"):
            load(size=None)
        with pytest.raises(UserError, match=r"dataset\.path=null names no dataset"):
            load(None)  # type: ignore[arg-type]

    def test_splits_without_train_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in(monkeypatch, {"english": split(10), "german": split(20)})
        with pytest.raises(UserError) as refused:
            load()
        assert refused.value.what == (
            "dataset.path=some/set has the splits english, german, and none of them is called train."
        )


class TestColumns:
    def test_column_of_lists_has_no_classes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features = {"picture": ImageColumn(), "label": "list"}
        stand_in(monkeypatch, {"all": split(1, 2, labels=[[1], [2]], features=features)})
        with pytest.raises(UserError, match=r"The column label of dataset\.path=some/set can't be read as classes"):
            load(label_column="label")

    def test_column_of_plain_values_has_them_as_classes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features = {"picture": ImageColumn(), "label": "int64"}
        splits = {
            "train": split(1, 2, 3, labels=[7, 3, 7], features=features),
            "test": split(4, labels=[5], features=features),
        }
        stand_in(monkeypatch, splits)
        train, test, names = load(label_column="label")
        assert test is not None
        assert (train.labels.tolist(), test.labels.tolist(), names) == ([2, 0, 2], [1], ("3", "5", "7"))

    def test_texts_that_are_numbers_come_in_their_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features = {"picture": ImageColumn(), "label": "string"}
        stand_in(monkeypatch, {"all": split(1, 2, 3, labels=["10", "9", "1"], features=features)})
        train, _, names = load(label_column="label")
        assert (names, train.labels.tolist()) == (("1", "9", "10"), [2, 1, 0])

    def test_number_that_is_missing_is_no_class(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        features = {"picture": ImageColumn(), "label": "double"}
        labels = [1.0, float("nan"), 0.0, float("nan")]
        stand_in(monkeypatch, {"all": split(1, 2, 3, 4, labels=labels, features=features)})
        with caplog.at_level("INFO"):
            train, _, names = load(label_column="label")
        assert (names, train.labels.tolist(), levels(train)) == (("0.0", "1.0"), [1, 0], [1, 3])
        assert "some/set has no label for 2 training images" in caplog.text

    @pytest.mark.parametrize("label", [2, -2])
    def test_label_that_is_no_class_is_refused(self, monkeypatch: pytest.MonkeyPatch, label: int) -> None:
        stand_in(monkeypatch, {"train": split(10, 11), "test": split(30, 31, labels=[0, label])})
        with pytest.raises(UserError) as refused:
            load()
        assert refused.value.what == (
            f"The split test of dataset.path=some/set has labels such as {label}, but its column label has 2 classes."
        )

    @pytest.mark.parametrize(
        ("features", "what"),
        [
            (FEATURES | {"label": ClassLabel(["dog", "cat"])}, "numbers its classes otherwise than train"),
            ({"picture": ImageColumn()}, "has no column label, which train has"),
        ],
        ids=["another order", "no labels"],
    )
    def test_splits_with_other_columns_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, features: dict[str, Any], what: str
    ) -> None:
        stand_in(monkeypatch, {"train": split(10, 11), "test": split(30, features=features)})
        with pytest.raises(UserError, match=what):
            load()

    @pytest.mark.parametrize(
        ("features", "what", "remedy"),
        [
            (
                {"label": ClassLabel(["a"]), "text": "string"},
                "no column, among label, text, of type Image",
                "image_column",
            ),
            ({"picture": ImageColumn(), "label": "int64"}, "of type ClassLabel", "dataset.label_column, or choose"),
            (
                {"picture": ImageColumn(), "fine": ClassLabel(["a"]), "coarse": ClassLabel(["b"])},
                "has the columns fine and coarse of type ClassLabel",
                "Name the right column with dataset.label_column.",
            ),
        ],
        ids=["no images", "no classes", "two classes"],
    )
    def test_column_that_is_not_the_only_one_of_its_type_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, features: dict[str, Any], what: str, remedy: str
    ) -> None:
        stand_in(monkeypatch, {"train": split(10, 11, features=features)})
        with pytest.raises(UserError) as refused:
            load()
        assert what in refused.value.what
        assert remedy in refused.value.remedy

    def test_unknown_column_is_refused_with_the_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in(monkeypatch, {"train": split(10, 11)})
        with pytest.raises(UserError) as refused:
            load(image_column="pictures")
        assert "dataset.image_column=pictures, but dataset.path=some/set has the columns picture, label, note" in (
            refused.value.what
        )
        assert refused.value.remedy == "Name one of these columns, or write picture."

    def test_picture_that_is_unfit_is_named_by_its_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unfit = split(10, 11)
        unfit.columns["picture"][1] = Image.new("F", (4, 4))
        stand_in(monkeypatch, {"train": unfit})
        with pytest.raises(
            UserError, match="Image 1 of train in some/set can't be read as a picture: its pixels are"
        ):
            load()

    def test_transparent_pictures_are_laid_on_the_background(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clear = split(10, 11)
        clear.columns["picture"] = [Image.new("LA", (4, 4), (level, 0)) for level in (10, 11)]
        stand_in(monkeypatch, {"train": clear})
        assert levels(load()[0]) == [255, 255]
        assert levels(load(background="black")[0]) == [0, 0]

    def test_column_without_images_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = split(10, 11)
        broken.columns["picture"] = ["text", "text"]
        stand_in(monkeypatch, {"train": broken})
        with pytest.raises(UserError, match=r"The column picture of dataset\.path=some/set can't be read as images"):
            load()


class TestRefused:
    @pytest.mark.parametrize("module", [None, SimpleNamespace()], ids=["nothing", "a folder of that name"])
    def test_missing_package_is_told_with_its_command(
        self, monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace | None
    ) -> None:
        monkeypatch.setitem(sys.modules, "datasets", module)
        with pytest.raises(UserError) as refused:
            load()
        assert refused.value.what == "dataset=hugging_face needs the package datasets."
        assert refused.value.remedy == "Install it with pip install 'cam-adv[huggingface]'."

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ConnectionError("Couldn't reach 'some/set' on the Hub (Error)"), "Couldn't reach 'some/set' on the Hub"),
            (
                ValueError("Config name is missing.\nPick one of ['a', 'b']\nLike so"),
                "missing. Pick one of ['a', 'b'].",
            ),
            (KeyError(), "KeyError."),
        ],
        ids=["no network", "no configuration", "no words"],
    )
    def test_dataset_that_cannot_be_loaded_is_refused_in_two_sentences(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
    ) -> None:
        stand_in(monkeypatch, error)
        with pytest.raises(UserError) as refused:
            load()
        assert refused.value.what.startswith("dataset.path=some/set can't be loaded: ")
        assert reason in refused.value.what
        assert "dataset.configuration" in refused.value.remedy
        assert "\n" not in refused.value.what


class TestRealPackage:
    """Local datasets in all formats, with the images of the three textures."""

    IMAGES = texture_images(12, 16, seed=1)

    @pytest.fixture(autouse=True)
    def _datasets(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        datasets.disable_progress_bars()

    def part(self, first: int, last: int, **columns: Any) -> Any:
        """Images `first` to `last` of every class."""
        from datasets import ClassLabel, Dataset, Features, Image, Value

        count = last - first
        rows = {
            "image": [self.to_picture(label, number) for label in range(3) for number in range(first, last)],
            "label": [label for label in range(3) for _ in range(count)],
            "note": ["text"] * (3 * count),
        }
        features = {"image": Image(), "label": ClassLabel(names=list(CLASS_NAMES)), "note": Value("string")}
        return Dataset.from_dict(rows, Features(features))

    def to_picture(self, label: int, number: int) -> Image.Image:
        return Image.fromarray(self.IMAGES[label, number])

    def pixels(self, first: int, last: int) -> torch.Tensor:
        return torch.from_numpy(self.IMAGES[:, first:last].reshape(-1, 1, 16, 16))

    @pytest.mark.parametrize("written", ["save_to_disk", "parquet"])
    def test_splits_of_a_local_folder_are_read_exactly(self, tmp_path: Path, written: str) -> None:
        from datasets import DatasetDict

        parts = {"train": self.part(0, 7), "validation": self.part(7, 9), "test": self.part(9, 12)}
        folder = tmp_path / "set"
        if written == "save_to_disk":
            DatasetDict(parts).save_to_disk(str(folder))
        else:
            folder.mkdir()
            for name, part in parts.items():
                part.to_parquet(str(folder / f"{name}.parquet"))
        train, test, names = load(str(folder), size=16)
        assert isinstance(train, TrainingImages)
        assert test is not None
        assert names == CLASS_NAMES
        for part, first, last in ((train, 0, 7), (train.validation, 7, 9), (test, 9, 12)):
            assert torch.equal(part.images, self.pixels(first, last))
            assert part.labels.tolist() == np.repeat([0, 1, 2], last - first).tolist()

    def test_single_saved_split_is_split_by_the_config(self, tmp_path: Path) -> None:
        self.part(0, 12).save_to_disk(str(tmp_path / "one"))
        overrides = ["dataset=hugging_face", f"dataset.path={tmp_path / 'one'}", "dataset.size=16"]
        settings = settings_from(compose([*overrides, "dataset.gray=true", "selection.source='häuser'"]))
        splits = load_dataset(settings.dataset)
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (27, 3, 6)
        assert splits.image_shape == (1, 16, 16)
        assert settings.with_class_numbers(splits.class_names).selection.source == 1

    def test_folder_of_class_folders_gives_what_image_folder_gives(self, tmp_path: Path) -> None:
        save_image_folder(tmp_path / "folder" / "train")
        save_image_folder(tmp_path / "folder" / "test")
        here, there = load(str(tmp_path / "folder"), size=8), image_folder(str(tmp_path / "folder"), 8, gray=True)
        assert here[2] == there[2]
        for mine, other in zip(here[:2], there[:2], strict=True):
            assert mine is not None
            assert other is not None
            assert mine.digest() == other.digest()

    def test_images_of_all_modes_and_sizes_are_converted(self, tmp_path: Path) -> None:
        from datasets import ClassLabel, Dataset, Features
        from datasets import Image as ImageFeature

        pictures = [
            Image.fromarray(np.full((9, 14), 128 * 257, np.uint16)),
            Image.new("RGB", (20, 30), (200, 100, 50)),
            Image.new("1", (5, 5), 1),
        ]
        features = Features({"img": ImageFeature(), "label": ClassLabel(names=["a", "b", "c"])})
        Dataset.from_dict({"img": pictures, "label": [0, 1, 2]}, features).save_to_disk(str(tmp_path / "set"))
        train, _, _ = load(str(tmp_path / "set"))
        assert [image.unique().tolist() for image in train.images] == [[128], [124], [255]]
        train, _, _ = load(str(tmp_path / "set"), gray=False)
        assert train.images[1].flatten(1).unique(dim=1).flatten().tolist() == [200, 100, 50]

    def test_missing_folder_and_unknown_column_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="can't be loaded: Couldn't find any data file"):
            load(str(tmp_path / "nowhere"))
        self.part(0, 2).remove_columns("label").save_to_disk(str(tmp_path / "set"))
        with pytest.raises(UserError, match="has no column, among image, note, of type ClassLabel"):
            load(str(tmp_path / "set"))
        with pytest.raises(UserError, match=r"The column note of dataset\.path=.* can't be read as images"):
            load(str(tmp_path / "set"), image_column="note", label_column="note")
