"""A short digest of values and tensors."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import cam_adv


def digest(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The first twelve hexadecimal digits of a SHA-256 of values, tensors and the version of this package.

    Args:
        plain: values that JSON can hold.
        tensors: of any shape and type, on any device.
    """
    state = hashlib.sha256(json.dumps({"version": cam_adv.__version__, **plain}, sort_keys=True).encode())
    for name, tensor in tensors.items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()[:12]
