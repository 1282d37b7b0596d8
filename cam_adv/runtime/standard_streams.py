"""Standard output and standard error that can't end a run: what it computes counts more than what it prints."""

import codecs
import errno
import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any

SPELLED_OUT = {
    "–": "-",
    "−": "-",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "→": "->",
    "×": "x",
    "∞": "inf",
    "δ": "delta",
    "κ": "kappa",
    "μ": "mu",
    "‖": "||",
    "₂": "2",
    "′": "'",
}
"""This package's own characters in ASCII; any other character that can't be printed becomes its escape sequence."""

SPELLING = "cam_adv.spelled_out"
"""Name of the error handler, as in `TextIOWrapper(errors=…)`."""


def protect_standard_streams() -> None:
    """Let this process print on, whatever becomes of its streams; a second call changes nothing.

    A character that the encoding lacks is spelled out. What can't be written any more, since the reader of a pipe has
    gone, a disk is full or a terminal was closed, is dropped. A stream that was closed at the start drops everything.
    Streams that are not this process's own, such as a notebook's, stay as they are.
    """
    codecs.register_error(SPELLING, _spell_out)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, TextIOWrapper):
            setattr(sys, name, _protected(stream))


class _Unfailing(FileIO):
    """A file that becomes the null device at the first error."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            with Path(os.devnull).open("wb") as null:
                os.dup2(null.fileno(), self.fileno())
            if error.errno != errno.EPIPE and self.fileno() != 2:
                print(
                    f"cam-adv: Standard output can't be written any more ({error.strerror}).\n"
                    "         The run goes on without it; its files are complete.",
                    file=sys.stderr,
                )
            return memoryview(data).nbytes


def _protected(stream: TextIOWrapper) -> TextIOWrapper:
    """The same stream with the two protections; one whose bytes go elsewhere than to a file descriptor as it is."""
    raw = getattr(stream.buffer, "raw", stream.buffer)  # with python -u there is no buffer
    if type(raw) is not FileIO:
        return stream
    stream.flush()
    buffer = BufferedWriter(_Unfailing(raw.fileno(), "wb", closefd=False))
    return TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=SPELLING,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _spell_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written instead of the first character of an encoding error, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte of a path that is not valid in the file system's encoding
        return bytes([ord(character) - 0xDC00]), error.start + 1
    escape = character.encode("ascii", "backslashreplace").decode()
    return SPELLED_OUT.get(character, escape), error.start + 1
