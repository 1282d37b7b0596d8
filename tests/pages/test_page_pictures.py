"""Pictures that are put together for a page, taken apart again."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cam_adv.pages.pictures import sheet, strip


def decoded(text: str, gray: bool) -> np.ndarray:
    with Image.open(BytesIO(b64decode(text))) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("L" if gray else "RGB")).astype(int)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_strip_has_the_frames_of_a_pixel_side_by_side(colours: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 3, *colours), dtype=np.uint8)
    pixels = decoded(strip(frames, lossless=True), not colours)
    assert pixels.shape[:2] == (4, 3 * 5)
    for frame in range(5):
        assert np.array_equal(pixels[:, frame::5], frames[frame])


def test_strip_of_a_slow_walk_is_small_and_close() -> None:
    """A disc that moves by half a pixel a frame."""
    row, column = np.mgrid[:28, :28]
    distance = [np.hypot(row - 14, column - 10 - frame / 2) for frame in range(14)]
    frames = (255 * np.clip(9 - np.stack(distance), 0, 1)).astype(np.uint8)
    text = strip(frames)
    assert len(text) < 0.5 * frames.size
    pixels = decoded(text, True).reshape(28, 28, 14)
    assert np.abs(pixels - np.moveaxis(frames, 0, 2)).mean() < 3


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (6, 3, 2), (9, 3, 3)])
def test_sheet_has_the_pictures_row_by_row(count: int, columns: int, rows: int) -> None:
    pictures = np.repeat(np.arange(count, dtype=np.uint8) * 25 + 20, 16 * 16).reshape(count, 16, 16)
    text, *shape = sheet(pictures)
    assert shape == [columns, rows]
    pixels = decoded(text, True)
    assert pixels.shape == (16 * rows, 16 * columns)
    for number in range(count):
        top, left = 16 * (number // columns), 16 * (number % columns)
        assert np.abs(pixels[top + 4 : top + 12, left + 4 : left + 12] - (25 * number + 20)).max() <= 3
