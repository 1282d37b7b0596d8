"""Files that are written completely or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces `path` on success and is removed on failure."""
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)  # on a full disk it would take space that other files need
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that no reader finds it incomplete, even after a crash."""
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON by `write_atomically`."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")
