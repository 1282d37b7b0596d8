"""Pictures of any size and mode as square images with 8 bits a pixel."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cam_adv.errors import UserError


def check_size(size: object) -> None:
    """Refuse a `dataset.size` that is no number of pixels.

    Raises:
        UserError: it is no whole number from 1.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(f"dataset.size={size} is no side of a picture.", "Give a whole number of pixels, such as 28.")


def square_image(picture: Image.Image, size: int, gray: bool) -> Tensor:
    """A picture as `(C, size, size)` uint8: upright, its shorter side resized to `size`, then its centre cropped.

    Args:
        size: in pixels.
        gray: one channel instead of three.

    Raises:
        ValueError: the pixels are floating-point numbers, whose range is unknown.
    """
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if upright.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip, not scale
        upright = Image.fromarray((np.asarray(upright) / 257).round().astype(np.uint8))
    square = ImageOps.fit(upright.convert("L" if gray else "RGB"), (size, size))
    pixels = torch.from_numpy(np.array(square))
    return pixels.unsqueeze(0) if gray else pixels.permute(2, 0, 1)
