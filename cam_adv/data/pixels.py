"""Pixel values as bytes and as numbers in [0, 1]."""

import torch
from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """Pixels in [0, 1], from uint8 in [0, 255]; images of other types are returned unchanged."""
    if images.dtype != torch.uint8:
        return images
    # By a tensor on the device: a GPU divides by a Python number with its rounded inverse, and gives other last bits.
    return images.float() / torch.full((), 255.0, device=images.device)
