"""Checkpoints that appear whole or not at all, also where the disk takes no more."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from cam_adv.writing import write_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's own way writes over the last checkpoint in place: a full disk would leave half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), content.getvalue())
