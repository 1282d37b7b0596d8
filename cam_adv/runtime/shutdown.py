"""How a command ends early: by a signal, or because a file can't be written."""

import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)

GRACE = 10.0
"""Seconds that a command has to end by itself after a signal."""

ERRNO_MESSAGES = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The disk is read-only",
    errno.EACCES: "Permission is denied",
    errno.EPERM: "Permission is denied",
}


@contextmanager
def graceful_shutdown() -> Iterator[None]:
    """End the command at once on Ctrl-C and SIGTERM, with a message and exit code 128 + the signal's number.

    Lightning would handle both itself, and react to SIGTERM between batches only: a batch of an attack may take
    minutes.
    """
    if threading.current_thread() is not threading.main_thread():  # where no handler may be set
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> NoReturn:
        received.append(number)
        if hasattr(signal, "setitimer"):  # Windows has none
            # The interpreter ignores what is raised in a destructor or a callback, and the command would go on.
            signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        _exit_on(number)

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    except BaseException:
        if received:  # a library that the signal interrupted may have replaced SystemExit by an error of its own
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        if received and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_at_once_on_interrupt() -> None:
    """From now on Ctrl-C ends the process without a traceback: nothing is left but the end of the interpreter."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exit_on(number: int) -> NoReturn:
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


def describe_os_error(error: BaseException) -> tuple[str, str] | None:
    """Two sentences, problem and remedy, where a file could not be written or read; None for other errors."""
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else _errno_in(str(cause))
        if number in ERRNO_MESSAGES:
            file = getattr(cause, "filename", None)
            where = f": {file}" if file else ""
            remedy = "Make room or choose another outputs=FOLDER; what is finished stays."
            return f"{ERRNO_MESSAGES[number]}{where}.", remedy
        cause = cause.__cause__ or cause.__context__
    return None


def _errno_in(message: str) -> int | None:
    """The number of an OS error of which only the message is left, as in errors of safetensors and PyTorch."""
    if "No space left on device" in message or "file write failed" in message:
        return errno.ENOSPC
    return None
