"""What a command gave, when, from which code and on which machine."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cam_adv.runtime.atomic_files import write_json

PACKAGES = ("cam-adv", "torch", "lightning", "hydra-core", "omegaconf", "numpy")


@dataclass(frozen=True)
class Record:
    """A result as it was made.

    command, source: see `Result`.
    commit: of the clone; with `+` behind it if files had been changed since, empty outside of a clone.
    versions: of Python and the packages. machine: in words, with the rate of a matrix product.
    date: ISO 8601. seconds: of the command; if it was resumed, of its last part.
    values: the file of values.
    """

    command: str
    source: str
    commit: str
    versions: dict[str, str]
    machine: str
    date: str
    seconds: float
    resumed: bool
    values: Any

    def write(self, path: Path) -> None:
        """Write it as JSON, into a folder that need not exist."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def commit(root: Path) -> str:
    """See `Record.commit`; of the clone in a folder."""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    code = ("cam_adv", "conf", "pyproject.toml", "tests/faults.py", ":(exclude)*.md")
    changed = head and _git(root, "status", "--porcelain", "--", *code)
    return f"{head}+" if changed else head


def versions() -> dict[str, str]:
    """See `Record.versions`."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def machine(matmul_rate: float, threads: int) -> str:
    """See `Record.machine`.

    Args:
        matmul_rate: of a matrix product with all cores, in FLOP/s. threads: of the command.
    """
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    cores = f"{os.cpu_count()} cores, {matmul_rate / 1e9:.0f} GFLOP/s, {threads} threads"
    return ", ".join([f"{platform.system()} {platform.machine()}", cores, *gpus])


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
