"""A device for one process alone: of several that want one each, nobody shares and nobody waits for a taken one."""

import getpass
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds between two looks at devices that are all taken."""


def claims_folder() -> Path:
    """Where this user's processes on this machine say which devices they have."""
    user = getattr(os, "getuid", getpass.getuser)()
    return Path(tempfile.gettempdir()) / f"cam_adv-{user}"


@contextmanager
def claimed(devices: Sequence[str], folder: Path) -> Iterator[int]:
    """Hold the first device that is free, after waiting for one where all are taken; which it is.

    The operating system lets it go when the process ends, however it ends.

    Args:
        devices: a name for each, the same in all processes, that can name a file.
        folder: the same in all processes that should not get in each other's way.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    locks = [FileLock(folder / f"{name}.lock") for name in devices]
    told = False
    while (free := _first_free(locks)) is None:
        if not told:
            log.info("All %d devices are taken: waiting for one.", len(devices))
            told = True
        time.sleep(PATIENCE)
    try:
        yield free
    finally:
        locks[free].release()


def _first_free(locks: Sequence[FileLock]) -> int | None:
    for number, lock in enumerate(locks):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return number
    return None
