"""Checkpoints that are written completely or not at all, on a full disk too."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from cam_adv.runtime.atomic_files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically; Lightning's own overwrites the last one in place, and a full disk damages it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """See `TorchCheckpointIO.save_checkpoint`."""
        content = BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), content.getvalue())
