"""Files that appear whole or not at all."""

from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that nobody finds half of it, whatever happens on the way."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    unfinished.replace(path)
