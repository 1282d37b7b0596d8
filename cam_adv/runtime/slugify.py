"""Texts as names of files and folders."""

import re

MAX_BYTES = 120
"""Of a name: file systems allow 255, and suffixes and numbers are added."""


def slugify(text: str) -> str:
    """A text as the name of one file or folder: characters that a path may not contain become underscores."""
    safe = re.sub(r"[^\w.,=+-]+", "_", text)
    return safe.encode()[:MAX_BYTES].decode(errors="ignore")
