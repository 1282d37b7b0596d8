"""The code that a network is made of, as part of what makes it the network that it is."""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any


def code_digest(made_by: Callable[..., Any]) -> str | None:
    """A SHA-256 over the file that defines a class or function; None where that is no file of Python code."""
    try:
        file = inspect.getsourcefile(made_by)
    except TypeError:  # built in
        return None
    return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
