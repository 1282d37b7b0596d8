"""Atomic writes leave the old file and no temporary one where they fail."""

import errno
from pathlib import Path

import pytest

from cam_adv.runtime.atomic_files import atomic_path, write_atomically


def test_write_atomically_replaces_the_file(tmp_path: Path) -> None:
    for content in ("old", "new ü", b"\x00\x01"):
        write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"\x00\x01"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_write_atomically_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", "old")

    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_atomic_path_interrupted_removes_the_temporary_file(tmp_path: Path) -> None:
    def write_half(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "file") as partial:
        write_half(partial)
    assert list(tmp_path.iterdir()) == []
