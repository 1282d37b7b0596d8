"""The folder of a finished attack on random images, as `study=attack` leaves it."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

CLASS_NAMES = ("dots", "häuser", "wide </script> stripes")
ROWS = 12


def attack_tensors(rows: int = ROWS, on_pixels: bool = False) -> dict[str, torch.Tensor]:
    """Random images of 4×4 pixels; three rows have one start. y runs through the classes, y' is the next one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, rows, 1, 4, 4, generator=generator)
    y, number = torch.arange(rows) % 3, torch.arange(rows)
    tensors = {
        "x": images[0].clone(),
        "x_adv": images[1].clone(),
        "reconstruction": images[2].clone(),
        "start_image": images[3][number // 3].clone(),
        "y": y,
        "target": (y + 1) % 3,
        "judge_reads": torch.where(number % 4 == 0, -1, (y + 1) % 3),
        "cluster": number // 3,
    }
    if on_pixels:
        del tensors["start_image"]
    return tensors


def save_attack(folder: Path, tensors: dict[str, torch.Tensor] | None = None, kind: str = "type1") -> Path:
    """Write the two files of an attack into a new folder, which is returned."""
    folder.mkdir()
    save_file(tensors or attack_tensors(), folder / "attack.safetensors")
    (folder / "summary.json").write_text(json.dumps({"kind": kind, "class_names": CLASS_NAMES}))
    return folder
