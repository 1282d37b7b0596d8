"""Reading images with human labels: valid files exactly, and a `UserError` for all others."""

from pathlib import Path

import numpy as np
import pytest

from cam_adv.data.human_labels import load_human_labels
from cam_adv.errors import UserError

SHAPE = (1, 4, 4)


def test_load_human_labels_valid_files_are_read_exactly(tmp_path: Path) -> None:
    pixels, labels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4), np.array([2, 0])
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", labels)
    human_labels = load_human_labels(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), SHAPE, 3)
    assert human_labels.images.shape == (2, *SHAPE)
    assert human_labels.images.flatten().tolist() == list(range(32))
    assert human_labels.labels.tolist() == [[2], [0]]
    assert human_labels.agreed.tolist() == [True, True]  # one reader agrees with himself
    assert human_labels.nothing.tolist() == [False, False]
    assert len(human_labels) == 2


def test_load_human_labels_of_several_readers(tmp_path: Path) -> None:
    """They agree if all saw the same class; nothing is no class, even if all saw it."""
    labels = np.array([[2, 2, 2], [2, 2, 0], [-1, 1, 1], [-1, -1, -1], [0, 0, -1], [0, 0, 0]], np.int8)
    np.save(tmp_path / "x.npy", np.zeros((6, 4, 4), np.uint8))
    np.save(tmp_path / "y.npy", labels)
    human_labels = load_human_labels(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), SHAPE, 3)
    assert human_labels.labels.tolist() == labels.tolist()
    assert human_labels.agreed.tolist() == [True, False, False, False, False, True]
    assert human_labels.nothing.tolist() == [False, False, True, True, True, False]


def test_load_human_labels_of_one_reader_who_saw_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4), np.uint8))
    np.save(tmp_path / "y.npy", np.array([-1, 1]))
    human_labels = load_human_labels(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), SHAPE, 3)
    assert (human_labels.agreed.tolist(), human_labels.nothing.tolist()) == ([False, True], [True, False])


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 4), (1, 4, 1), (3, 4, 4)])
@pytest.mark.parametrize("last", [False, True])
def test_load_human_labels_takes_channels_first_and_last(
    tmp_path: Path, shape: tuple[int, int, int], last: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels.transpose(0, 2, 3, 1) if last else pixels)
    np.save(tmp_path / "y.npy", np.array([2, 0]))
    human_labels = load_human_labels(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), shape, 3)
    assert np.array_equal(human_labels.images.numpy(), pixels)
    assert human_labels.images.is_contiguous()


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 5, 4), np.uint8), np.array([0, 1]), r"study\.images"),
        (np.zeros((2, 4, 4), np.float32), np.array([0, 1]), "float32"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0, 3]), "classes from 0 to 3"),
        (np.zeros((2, 4, 4), np.uint8), np.array([[0, 1], [-2, 1]]), "classes from -2 to 1"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros((2, 0), int), r"of \(2, 0\) for 2 pictures"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1, 1), int), r"of \(2, 1, 1\) for 2 pictures"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), r"pictures of \(4, 4, 3\)"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0.0, 1.0]), "float64"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0]), "for 2 pictures"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, int), "for 0 pictures"),
        (np.zeros((2, 4, 4), np.uint8), np.array([{}, {}]), r"study\.labels"),
    ],
)
def test_load_human_labels_invalid_files_raise(
    tmp_path: Path, pixels: np.ndarray, labels: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(UserError, match=message):
        load_human_labels(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), SHAPE, 3)


@pytest.mark.parametrize("name", ["none.npy", None])
def test_load_human_labels_missing_files_raise(name: str | None) -> None:
    with pytest.raises(UserError, match=r"study\.images"):
        load_human_labels(name, None, SHAPE, 3)
