"""How a command ends before its time: it was told to, or the disk takes no more."""

import errno
import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
DISK = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The disk is read-only",
    errno.EACCES: "Permission is denied",
    errno.EPERM: "Permission is denied",
}


@contextmanager
def told_to_end() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command at once, in words and with exit code 128 + the signal's number.

    Lightning would take both for itself, and look at SIGTERM between batches only: an attack's may take minutes.
    """
    if threading.current_thread() is not threading.main_thread():  # where no handler may be set
        yield
        return
    told: list[int] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        told.append(number)
        _end(number)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    except BaseException:
        if told:  # the signal came in the midst of a library, which may have made an error of its own of it
            raise SystemExit(128 + told[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int) -> NoReturn:
    for later in SIGNALS:
        signal.signal(later, signal.SIG_IGN)  # one is enough, and what follows is short
    for child in multiprocessing.active_children():
        child.terminate()
    print(
        f"\ncam-adv: This command was told to end ({signal.Signals(number).name}).\n"
        "         What is finished stays: start it again, with resume=latest to go on in the same folder.",
        file=sys.stderr,
        flush=True,
    )
    raise SystemExit(128 + number)


def of_the_disk(error: BaseException) -> tuple[str, str] | None:
    """What to say where a file could not be written or read; None for an error of another kind."""
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else _named_in(str(cause))
        if number in DISK:
            file = getattr(cause, "filename", None)
            where = f": {file}" if file else ""
            return f"{DISK[number]}{where}.", "Make room or choose another outputs=FOLDER; what is finished stays."
        cause = cause.__cause__ or cause.__context__
    return None


def _named_in(text: str) -> int | None:
    """The number of the error that a library has put into its message, as safetensors and PyTorch do."""
    if "No space left on device" in text or "file write failed" in text:
        return errno.ENOSPC
    return None
