"""Outputs of a network for many images, batch by batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from cam_adv.data.pixels import to_unit_range

BATCH = 500
"""Images in one batch: enough to use a device well, few enough for any memory."""


@torch.no_grad()
def batched_apply(function: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """Apply a function to images batch by batch.

    Args:
        function: images `(n, C, H, W)` in [0, 1] on `device` to a tensor `(n, …)`.
        images: `(N, C, H, W)`, uint8 in [0, 255] or float in [0, 1].
        device: the device on which the function computes.

    Returns:
        `(N, …)` on the CPU.
    """
    return torch.cat([function(to_unit_range(batch.to(device))).cpu() for batch in images.split(BATCH)])
