"""Tensors on disk, as safetensors: data only, nothing in them is executed."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from cam_adv.runtime.atomic_files import atomic_path


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file that appears whole or not at all."""
    with atomic_path(path) as unfinished:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, unfinished)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file that `save_tensors` wrote."""
    return load_file(path)
