"""The folder of a run: which one it is, who works in it, and whether the run in it is this one."""

import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cam_adv.errors import UserError
from cam_adv.naming import file_name

CONFIG = "config.yaml"
RECORD = "job.json"
RESULTS = ("summary.json", "agreement.json", "reliability.json", "bound.json", "roc.json", "defence.json")
"""One for each stage that has more to tell than a training. Written last: where one stands, the run is finished."""

BATCHES = "batches"
"""What an attack has so far, in a run that isn't finished."""

LATEST = "latest"
MAY_DIFFER = re.compile(r"resume|debug|hardware(?!\.precision$)\..*")
"""Keys that leave a run's meaning as it is: it may be finished on other devices, in the same precision."""

SIGNS = {"run": CONFIG, "sweep": f"*/{RECORD}"}
"""By what a folder is known to hold one."""


def register_resolvers() -> None:
    """Make `${run_folder:…}`, `${sweep_folder:…}` and `${job_folder:…}` known to configs.

    The first two are cached: all jobs of a sweep share one folder, whatever is started meanwhile.
    """
    for kind in SIGNS:
        resolver = partial(new_or_resumed, kind)
        OmegaConf.register_new_resolver(f"{kind}_folder", resolver, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def new_or_resumed(kind: str, resume: str | None, parent: str, date: str) -> str:
    """Where a run or a sweep works.

    Args:
        kind: "run" or "sweep".
        resume: None for a new one, the folder to go on in, or "latest" for the newest dated one in `parent`.
        parent: of the dated folders.
        date: the name of a new one; by names of this form the newest is told.

    Raises:
        UserError: there is nothing to go on with.
    """
    if resume is None:
        return str(Path(parent, date))
    if resume == LATEST:
        dated = sorted(Path(parent).glob(re.sub(r"\d", "[0-9]", date)))
        if held := [folder for folder in dated if _holds(folder, kind)]:
            return str(held[-1])
        raise UserError(
            f"There is no {kind} in {parent} to go on with.",
            f"Start one without resume, or give the {kind}'s folder.",
        )
    if not _holds(Path(resume), kind):
        raise UserError(
            f"resume={resume} is no folder of a {kind}.",
            "Give one, or resume=latest for the newest of this name; a sweep is resumed with -m, a run without.",
        )
    return str(resume)


def job_folder(sweep: str, number: int, overrides: str) -> str:
    """The name of a job's folder: its number and what was overridden; a job that was begun keeps its folder.

    So a resumed sweep finds its jobs by their numbers: where other values are swept, they are held against the
    config in that folder and refused, instead of being done beside it.
    """
    name = f"{number}_{file_name(overrides)}"
    begun = sorted(path.parent.name for path in Path(sweep).glob(f"{number}_*/{CONFIG}"))
    return name if name in begun or not begun else begun[0]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Work in a folder alone; once the work is done, what only a resumed run would need is removed.

    Raises:
        UserError: another process works there.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"Another process is at work in {folder}.",
            "Wait until it ends, or start a run of its own without resume.",
        ) from error
    try:
        yield
        shutil.rmtree(folder / BATCHES, ignore_errors=True)
    finally:
        with suppress(OSError):  # some systems remove no open file
            Path(lock.lock_file).unlink()
        lock.release()


def check_asked(resume: str | None, folder: Path) -> None:
    """Make sure that `folder`, where a run or a sweep works, is the one that `resume` names.

    Raises:
        UserError: hydra.run.dir or hydra.sweep.dir names another.
    """
    if resume not in (None, LATEST) and Path(resume).resolve() != folder.resolve():
        raise UserError(
            f"resume={resume}, but hydra.run.dir or hydra.sweep.dir is {folder}.", "Leave one of the two out."
        )


def check_resumable(folder: Path, config: str) -> None:
    """Make sure that the run in a folder is the one that `config`, in YAML, asks to go on with.

    The folder's config is compared and no more: nothing that it names is made.

    Raises:
        UserError: it is another run's folder, or holds none.
    """
    asked = _flat(OmegaConf.to_container(OmegaConf.create(config), resolve=False))
    if asked.get("resume") is None:
        raise UserError(
            f"{folder} belongs to another run.", "Give another hydra.run.dir, or remove that folder first."
        )
    begun = _flat(_read(folder))
    for key in [*asked, *(key for key in begun if key not in asked)]:
        if MAY_DIFFER.fullmatch(key) or (key in asked and key in begun and asked[key] == begun[key]):
            continue
        raise UserError(
            f"{_named(key, asked)}, but {folder} was begun with {_named(key, begun)}.",
            "Resume it with the overrides that it was started with, or leave resume out to start a new run.",
        )


def began(folder: Path) -> float:
    """When the run in a folder began, in seconds since the epoch: now, where it hasn't yet."""
    config = folder / CONFIG
    return config.stat().st_mtime if config.exists() else time.time()


def is_finished(folder: Path) -> bool:
    """Whether a run that attacks or compares has ended; one that only trains leaves its mark in the store."""
    return any((folder / name).exists() for name in RESULTS)


def _holds(folder: Path, kind: str) -> bool:
    return any(folder.glob(SIGNS[kind]))


def _read(folder: Path) -> Any:
    try:
        # Interpolations stay texts: whoever may write there must not make this process look anything up.
        return OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=False)
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no run to go on with.", "Leave resume out to start one there.") from error
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} can't be read.", "Leave resume out to start a new run.") from error


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    """Every value of nested mappings by its dotted path."""
    if not isinstance(node, Mapping) or not node:
        return {path: node}
    flat: dict[str, Any] = {}
    for key, child in node.items():
        flat |= _flat(child, f"{path}.{key}" if path else str(key))
    return flat


def _named(key: str, values: Mapping[str, Any]) -> str:
    if key not in values:
        return f"no {key}"
    value = values[key]
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else str(value)
    return f"{key}={text}"
