"""What a network says of many images."""

from collections.abc import Callable

import torch
from torch import Tensor

BATCH = 500
"""Images that go through a network at once: enough to keep it busy, few enough for any memory."""


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """Apply a function of images batch by batch.

    Args:
        function: images `(n, C, H, W)` in [0, 1] on `device` to a tensor `(n, …)`.
        images: `(N, C, H, W)`, uint8 in [0, 255] or float in [0, 1].
        device: where the function computes.

    Returns:
        `(N, …)` on the CPU.
    """
    return torch.cat([function(unit(part.to(device))).cpu() for part in images.split(BATCH)])


def unit(images: Tensor) -> Tensor:
    """Pixels in [0, 1], from uint8 in [0, 255] or from pixels that are there already."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
