"""Outputs of a network for many images, batch by batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from cam_adv.data.pixels import to_unit_range

BATCH = 500
"""Largest number of images in one batch: enough to use a device well."""

FULL_BATCH_PIXELS = 3 * 64 * 64
"""Pixels of an image, of all channels, up to which batches are as large as they may be; larger images come in smaller
ones, and fit into memory."""

FEW = 16
"""Codes that are computed together whatever they draw."""


def batch_size(numbers: int, largest: int = BATCH) -> int:
    """How many images are computed together.

    Args:
        numbers: pixels of an image, of all channels.
        largest: their number for small images.
    """
    return max(1, min(largest, largest * FULL_BATCH_PIXELS // max(1, numbers)))


@torch.no_grad()
def batched_apply(function: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """Apply a function to images batch by batch.

    Args:
        function: images `(n, C, H, W)` in [0, 1] on `device`, contiguous, to a tensor `(n, …)`.
        images: `(N, C, H, W)`, uint8 in [0, 255] or float in [0, 1]; or codes `(N, D)`.
        device: the device on which the function computes.

    Returns:
        `(N, …)` on the CPU.
    """
    numbers = images[:1].numel()
    if images.ndim == 2 and len(images) > FEW:  # what is drawn from a code may be large
        numbers = max(numbers, function(images[:1].to(device)).numel())
    size = batch_size(numbers)
    parts = [function(to_unit_range(batch.to(device)).contiguous()).cpu() for batch in images.split(size)]
    return torch.cat(parts)
