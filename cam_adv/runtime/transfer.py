"""Copies to a GPU that nobody waits for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device.

    From pinned memory to a GPU, so that the CPU goes on at once: an ordinary copy first waits for all that the GPU
    has still to do.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
