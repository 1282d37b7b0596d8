"""Atomic checkpoints."""

import errno
from pathlib import Path

import pytest
import torch

from cam_adv.training.checkpoints import AtomicCheckpointIO


def test_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, weights = tmp_path / "model.ckpt", torch.arange(3.0)
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": weights}}, checkpoint)

    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": weights + 1}}, checkpoint)
    assert torch.equal(torch.load(checkpoint, weights_only=True)["state_dict"]["w"], weights)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]  # the half of the new one takes no space
