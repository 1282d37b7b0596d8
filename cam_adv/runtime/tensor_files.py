"""Tensors on disk, as safetensors: data only, nothing in them is executed."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cam_adv.runtime.atomic_files import atomic_path


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a file that appears whole or not at all; texts belong into its metadata."""
    with atomic_path(path) as unfinished:
        contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(contiguous, unfinished, metadata)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file that `save_tensors` wrote."""
    return load_file(path)


def load_metadata(path: Path) -> dict[str, str]:
    """The metadata of such a file."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}
