"""Many small pictures as one, which a page takes apart again."""

from base64 import b64encode
from io import BytesIO
from math import ceil, sqrt

import numpy as np
from PIL import Image

QUALITY = 90
"""Of WebP. Pixels of digits then differ by 0.3% of their range in the mean, and by 3% at most."""


def strip(frames: np.ndarray, lossless: bool = False) -> str:
    """Frames `(F, H, W)` or `(F, H, W, 3)` uint8 as one WebP file of `(H, W·F)` pixels, in base64.

    The values of one pixel at all frames stand side by side. Along the path of an attack they change slowly, so that
    the file has half the size of one with whole frames side by side.
    """
    side_by_side = np.moveaxis(frames, 0, 2)
    return _webp(side_by_side.reshape(len(side_by_side), -1, *frames.shape[3:]), lossless)


def sheet(pictures: np.ndarray) -> tuple[str, int, int]:
    """Pictures `(N, H, W)` or `(N, H, W, 3)` uint8, row by row in one WebP file, in base64; its columns and rows."""
    count, height, width = pictures.shape[:3]
    columns = ceil(sqrt(count))
    rows = ceil(count / columns)
    grid = np.zeros((rows * columns, *pictures.shape[1:]), np.uint8)
    grid[:count] = pictures
    grid = grid.reshape(rows, columns, *pictures.shape[1:]).swapaxes(1, 2)
    return _webp(grid.reshape(rows * height, columns * width, *pictures.shape[3:])), columns, rows


def _webp(pixels: np.ndarray, lossless: bool = False) -> str:
    content = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "WEBP", quality=QUALITY, lossless=lossless, method=0)
    return b64encode(content.getvalue()).decode()
