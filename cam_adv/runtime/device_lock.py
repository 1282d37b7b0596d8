"""Exclusive use of a device: of several processes that need one each, no two get the same."""

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

POLL_INTERVAL = 1.0
"""Seconds between two attempts to lock a device while all are taken."""


def device_lock_folder() -> Path:
    """The folder of the lock files, shared by this user's processes on this machine."""
    user = getattr(os, "getuid", getpass.getuser)()
    return Path(tempfile.gettempdir()) / f"cam_adv-{user}"


@contextmanager
def device_lock(devices: Sequence[str], folder: Path) -> Iterator[int]:
    """Lock the first free device, waiting for one where all are taken; yields its position in `devices`.

    The operating system releases the lock when the process ends, also when it is killed.

    Args:
        devices: a name for each, the same in all processes, that can name a file.
        folder: of the lock files, the same in all processes.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    locks = [FileLock(folder / f"{name}.lock") for name in devices]
    waiting = False
    while (free := _first_free(locks)) is None:
        if not waiting:
            log.info("All %d devices are taken: waiting for one.", len(devices))
            waiting = True
        time.sleep(POLL_INTERVAL)
    try:
        yield free
    finally:
        locks[free].release()


def _first_free(locks: Sequence[FileLock]) -> int | None:
    for index, lock in enumerate(locks):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return index
    return None
