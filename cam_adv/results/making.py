"""Run the command of a result, and keep what it gave."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from PIL import Image

from cam_adv.errors import UserError
from cam_adv.results import record
from cam_adv.results.record import Record
from cam_adv.results.result import Result
from cam_adv.runtime.run_dir import MARKERS

PALETTE_ABOVE = 1_000_000
"""Bytes of a picture beside the pages, which every clone brings along. The run's own has all its colours."""


def make(result: Result, root: Path, pages: Path, threads: int, matmul_rate: float) -> Record:
    """Run it in `root/outputs/results/<name>-<source>`, resuming what was interrupted there.

    What the command prints goes into the file `<folder>.log`.

    Args:
        root: of the clone, in which the command is started.
        pages: the folder of the record's folder and of the pictures.
        threads: of the command. matmul_rate: see `record.machine`.

    Raises:
        UserError: something that it needs is missing, it failed, or it left no file of values or pictures.
    """
    for name in result.needs:
        if not (root / name).exists():
            raise UserError(f"{result.name} needs {root / name}, which is not there.", "Put it there, or link it.")
    folder = root / "outputs" / "results" / f"{result.name}-{result.source}"
    resumed = any((folder / name).exists() for name in MARKERS.values())
    folder.parent.mkdir(parents=True, exist_ok=True)
    if result.is_run and not resumed:  # killed in the moment in which it claimed its folder
        shutil.rmtree(folder, ignore_errors=True)
    commit, start = record.commit(root), time.time()
    with folder.with_name(f"{folder.name}.log").open("a", encoding="utf-8") as log:
        code = subprocess.run(
            _arguments(result, folder, resumed),
            cwd=root,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ).returncode
    if code:
        raise UserError(f"The command of {result.name} failed: {result.command}", f"See {log.name}.")
    try:
        values = json.loads((folder / result.values).read_text(encoding="utf-8"))
        for file in result.files:
            values[Path(file).stem] = json.loads((folder / file).read_text(encoding="utf-8"))
        for file, name in result.pictures.items():
            _copy_picture(_in_run(folder, file), pages / name)
    except FileNotFoundError as error:
        raise UserError(
            f"The command of {result.name} ended well, but left no {error.filename}.",
            f"See {log.name}; correct the file's name in cam_adv/results/registry.py if it has another.",
        ) from error
    made = Record(
        command=result.command,
        source=result.source,
        commit=commit,
        versions=record.versions(),
        machine=record.machine(matmul_rate, threads),
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        seconds=time.time() - start,
        resumed=resumed,
        values=_kept(values, result.left_out),
    )
    made.write(record_file(pages, result.name))
    return made


def record_file(pages: Path, name: str) -> Path:
    """Where the record of a result is."""
    return pages / "results" / f"{name}.json"


def _arguments(result: Result, folder: Path, resumed: bool) -> list[str]:
    program, *arguments = result.arguments
    if not result.is_run:
        folder.mkdir(exist_ok=True)
        return [sys.executable if program == "python" else program, *arguments, "--json", str(folder / result.values)]
    kind = "sweep" if "-m" in arguments else "run"
    place = f"resume={folder}" if resumed else f"hydra.{kind}.dir={folder}"
    return [sys.executable, "-m", "cam_adv", *arguments, place]


def _in_run(folder: Path, file: str) -> Path:
    """A file of a run; of a sweep's job if its path begins with a number."""
    number, _, rest = file.partition("/")
    if not number.isdigit():
        return folder / file
    return next(folder.glob(f"{number}_*"), folder / number) / rest


def _copy_picture(picture: Path, place: Path) -> None:
    """Copy it; a PNG of more than `PALETTE_ABOVE` bytes with a palette of 256 colours."""
    if picture.stat().st_size <= PALETTE_ABOVE:
        shutil.copyfile(picture, place)
        return
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256).save(place, optimize=True)


def _kept(values: Any, left_out: tuple[str, ...], path: str = "") -> Any:
    if isinstance(values, list):
        return [_kept(one, left_out, path) for one in values]
    if not isinstance(values, dict):
        return values
    places = {key: f"{path}.{key}" if path else str(key) for key in values}
    return {
        key: _kept(one, left_out, places[key])
        for key, one in values.items()
        if not any(fnmatchcase(places[key], pattern) for pattern in left_out)
    }
