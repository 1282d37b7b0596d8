"""An object whose unpickling runs code, for tests of loading files of others."""

from pathlib import Path
from typing import Any


class Recorder:
    """Unpickling it creates `file`, which shows that code was executed."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)
