"""Pixel values as bytes and as numbers in [0, 1]."""

import torch
from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """Pixels in [0, 1], from uint8 in [0, 255]; images of other types are returned unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
