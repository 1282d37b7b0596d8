"""New folders for runs and sweeps: a name is taken by an atomic operation, so that no two processes get the same."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path


def numbered(folder: Path) -> Iterator[Path]:
    """The folder itself, then `<name>_2`, `<name>_3` and so on beside it."""
    yield folder
    yield from (folder.with_name(f"{folder.name}_{number}") for number in count(2))


def claim_folder(folder: Path) -> Path:
    """Make the first of the numbered folders that does not exist; which it is."""
    return next(path for path in numbered(folder) if claim_entry(path.parent, path.name))


def claim_entry(folder: Path, entry: str) -> bool:
    """Claim a folder that may exist by making a folder inside it: whether no other process has done so before."""
    try:
        (folder / entry).mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def first_missing(folder: Path) -> Path | None:
    """The outermost of a folder and its parents that does not exist; None if all exist."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1] if missing else None


def remove_empty(folder: Path, outermost: Path) -> None:
    """Remove a folder and its parents up to `outermost`, as long as they are empty."""
    for path in (folder, *folder.parents):
        try:
            path.rmdir()
        except OSError:
            return
        if path == outermost:
            return
