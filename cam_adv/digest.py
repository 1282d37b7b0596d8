"""What something is made of, in twelve hexadecimal digits."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import cam_adv


def digest(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Of a SHA-256 over values that JSON can hold, the bits of tensors of any shape and type, and this version."""
    state = hashlib.sha256(json.dumps({"version": cam_adv.__version__, **plain}, sort_keys=True).encode())
    for name, tensor in tensors.items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()[:12]
