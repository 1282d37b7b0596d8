"""Random small affine transforms and changes of brightness, of a whole batch at once."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Padding = Literal["zeros", "border"]


def random_affine(
    images: Tensor,
    draws: Tensor,
    shift: float,
    rotation: float,
    scale: float,
    shear: float,
    padding: Padding = "zeros",
) -> Tensor:
    """Shift, rotate, scale and shear each image by its own draw.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        draws: `(5, N)`, uniform in [-1, 1]: rotation, scale, shear, horizontal and vertical shift of each image, as
            fractions of their maxima.
        shift: maximum shift in pixels, along each axis.
        rotation: maximum rotation in degrees.
        scale: maximum relative change of size (0.1: from 90% to 110%).
        shear: maximum shear, in horizontal pixels per vertical pixel.
        padding: pixels from outside the image are black, or those at the nearest border.

    Returns:
        `(N, C, H, W)` in [0, 1].
    """
    height, width = images.shape[2:]
    angle = draws[0] * math.radians(rotation)
    size = 1 + draws[1] * scale
    cosine, sine = angle.cos() * size, angle.sin() * size
    slope = draws[2] * shear
    theta = torch.stack(
        [
            torch.stack([cosine, cosine * slope - sine, draws[3] * 2 * shift / width], dim=1),
            torch.stack([sine, sine * slope + cosine, draws[4] * 2 * shift / height], dim=1),
        ],
        dim=1,
    ).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def random_brightness(images: Tensor, draws: Tensor, brightness: float) -> Tensor:
    """Multiply the pixels of each image by its own factor, and clip them to [0, 1].

    Args:
        images: `(N, C, H, W)` in [0, 1].
        draws: `(N,)`, uniform in [-1, 1].
        brightness: maximum relative change (0.2: factors from 0.8 to 1.2).

    Returns:
        `(N, C, H, W)` in [0, 1].
    """
    return (images * (1 + brightness * draws.to(images)).reshape(-1, 1, 1, 1)).clamp(0, 1)
