"""Texts as names of files and folders."""

import re

LONGEST = 120
"""Bytes of a name: file systems allow 255, and endings and numbers are added."""


def file_name(text: str) -> str:
    """A text as the name of one file or folder: what may not stand in a path becomes an underscore."""
    safe = re.sub(r"[^\w.,=+-]+", "_", text)
    return safe.encode()[:LONGEST].decode(errors="ignore")
