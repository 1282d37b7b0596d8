"""The folder of a run: its path, its lock, and whether the run in it may be resumed."""

import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from cam_adv.errors import UserError, config_text
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.runtime.slugify import slugify

CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
"""The overrides that a run was started with."""

JOB_FILE = "job.json"
MULTIRUN_CONFIG = "multirun.yaml"
"""The file in a sweep's folder that has the config of the whole sweep."""

LOCK = ".lock"
BATCHES = "batches"
"""The folder of the batches that an attack has done, in a run that isn't finished."""

LATEST = "latest"
IGNORED_ON_RESUME = re.compile(r"from|resume|debug|figures|hardware(?!\.precision$)\..*")
"""Keys that don't change a run's results: it may be resumed on other devices, in the same precision."""

MARKERS = {"run": CONFIG, "sweep": MULTIRUN_CONFIG}
"""A file that every folder of this kind has."""


def register_resolvers() -> None:
    """Register `${run_folder:…}`, `${sweep_folder:…}` and `${job_folder:…}` with OmegaConf."""
    for kind in MARKERS:
        OmegaConf.register_new_resolver(f"{kind}_folder", partial(resolve_output_folder, kind), replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def resolve_output_folder(kind: str, resume: str | None, parent: str, date: str) -> str:
    """The output folder of a run or a sweep, new or resumed.

    Args:
        kind: "run" or "sweep".
        resume: None for a new one, the folder to resume, or "latest" for the newest dated one in `parent`.
        parent: of the dated folders.
        date: the name of a new one; only names of this form, also with a number (see `claimed_folder.numbered`), are
            candidates for "latest".

    Raises:
        UserError: there is nothing to resume.
    """
    if resume is None:
        return str(Path(parent, date))
    if resume == LATEST:
        form = re.compile(re.sub(r"\d", r"\\d", re.escape(date)) + r"(?:_(\d+))?")
        names = [found for path in Path(parent).glob("*") if (found := form.fullmatch(path.name))]
        for found in sorted(names, key=lambda found: (found[0][: len(date)], int(found[1] or 1)), reverse=True):
            if _contains(Path(parent, found[0]), kind):
                return str(Path(parent, found[0]))
        raise UserError(
            f"There is no {kind} in {parent} to go on with.",
            f"Start one without resume, or give the {kind}'s folder.",
        )
    if not _contains(Path(resume), kind):
        raise UserError(
            f"resume={resume} is no folder of a {kind}.",
            "Give one, or resume=latest for the newest of this name; a sweep is resumed with -m, a run without.",
        )
    return str(resume)


def job_folder(sweep: str, number: int, overrides: str) -> str:
    """The name of a job's folder: its number and its overrides; a job that has been started keeps its folder.

    So a resumed sweep finds its jobs by their numbers: other swept values are compared with the config in that folder
    and refused, instead of starting another job beside it.
    """
    name = f"{number}_{slugify(overrides)}"
    started = sorted(path.parent.name for path in Path(sweep).glob(f"{number}_*/{CONFIG}"))
    return name if name in started or not started else started[0]


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock the folder of a run for this process; on success, files that only a resumed run would need are removed.

    Raises:
        UserError: another process has locked it, or it has such files without a run.
    """
    if (folder / BATCHES).exists() and not (folder / CONFIG).exists():
        raise UserError(
            f"{folder} has no run, but {BATCHES}, the name of a folder that a run makes and removes.",
            "Give another hydra.run.dir, or rename that folder.",
        )
    file_lock = acquire_lock(folder)
    try:
        yield
        shutil.rmtree(folder / BATCHES, ignore_errors=True)
    finally:
        release_lock(file_lock)


def acquire_lock(folder: Path, timeout: float = 0) -> FileLock:
    """Lock a folder for this process, waiting for up to `timeout` seconds.

    Raises:
        UserError: another process has locked it.
    """
    file_lock = FileLock(folder / LOCK)
    try:
        file_lock.acquire(timeout=timeout)
    except Timeout as error:
        raise UserError(
            f"Another process is at work in {folder}.", "Wait until it ends, or write into another folder."
        ) from error
    return file_lock


def release_lock(file_lock: FileLock) -> None:
    """Release a lock of `acquire_lock`, and remove its file."""
    with suppress(OSError):  # some systems can't remove an open file
        Path(file_lock.lock_file).unlink()
    file_lock.release()


def check_resume_target(resume: str | None, folder: Path) -> None:
    """Check that `folder`, the output folder of a run or a sweep, is the one that `resume` names.

    Raises:
        UserError: hydra.run.dir or hydra.sweep.dir names another.
    """
    if resume not in (None, LATEST) and Path(resume).resolve() != folder.resolve():
        raise UserError(
            f"resume={resume}, but hydra.run.dir or hydra.sweep.dir is {folder}.", "Leave one of the two out."
        )


def check_resumable(folder: Path, config: str) -> None:
    """Check that the run in a folder has the config `config` (YAML), so that it may be resumed.

    The folder's config is only compared: nothing in it is resolved or instantiated.

    Raises:
        UserError: the folder has another run, or none.
    """
    requested = flatten(OmegaConf.to_container(OmegaConf.create(config), resolve=False))
    if requested.get("resume") is None:
        raise belongs_to_another_run(folder)
    saved = flatten(read_config(folder))
    for key in [*requested, *(key for key in saved if key not in requested)]:
        same = key in requested and key in saved and requested[key] == saved[key]
        if same or IGNORED_ON_RESUME.fullmatch(key):
            continue
        raise UserError(
            f"{_assignment(key, requested)}, but {folder} was begun with {_assignment(key, saved)}.",
            "Resume it with the overrides that it was started with, or leave resume out to start a new run.",
        )


def belongs_to_another_run(folder: Path) -> UserError:
    """The error for a new run in a folder that has one."""
    return UserError(
        f"{folder} belongs to another run.",
        "Give another hydra.run.dir (hydra.sweep.subdir of a sweep's jobs), or remove that folder first.",
    )


def claim(folder: Path, config: str, overrides: Sequence[str]) -> None:
    """Take a locked folder for one run by writing its overrides and its resolved config, or check that the run in it
    may be resumed.

    Raises:
        UserError: the folder has another run.
    """
    if (folder / CONFIG).exists():
        check_resumable(folder, config)
    else:
        write_atomically(folder / OVERRIDES, OmegaConf.to_yaml(list(overrides)))
        write_atomically(folder / CONFIG, config)


def start_time(folder: Path) -> float:
    """When the run in a folder was started, in seconds since the epoch; now for a new one."""
    config = folder / CONFIG
    return config.stat().st_mtime if config.exists() else time.time()


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder has its study's result file, `<study name>.json` or an attack's `summary.json`, and
    has ended: what only a resumed run would need is removed then, and an attack's figures are drawn before.

    A study that only trains writes none: its results are in the store, and to do it again takes no time.

    Raises:
        UserError: the folder has no run.
    """
    study = flatten(read_config(folder)).get("study.name")
    return not (folder / BATCHES).exists() and any((folder / f"{name}.json").exists() for name in ("summary", study))


def _contains(folder: Path, kind: str) -> bool:
    return (folder / MARKERS[kind]).exists()


def read_config(folder: Path) -> Any:
    """The resolved config of the run in a folder, as plain values.

    Raises:
        UserError: there is none, or it can't be read.
    """
    try:
        # Unresolved: a resolver in a file that others may write must not run in this process.
        return OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=False)
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no run to go on with.", "Leave resume out to start one there.") from error
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} can't be read.", "Restore it, or start a new run.") from error


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """The values of nested mappings by their dotted paths."""
    if not isinstance(node, Mapping) or not node:
        return {path: node}
    flat: dict[str, Any] = {}
    for key, child in node.items():
        flat |= flatten(child, f"{path}.{key}" if path else str(key))
    return flat


def _assignment(key: str, values: Mapping[str, Any]) -> str:
    if key not in values:
        return f"no {key}"
    return f"{key}={config_text(values[key])}"
