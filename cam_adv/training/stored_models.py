"""What a store of models holds, which of it today's code would train anew, and its removal."""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from hydra.utils import get_object

from cam_adv.models.normalized import Normalized
from cam_adv.runtime.run_dir import release_lock
from cam_adv.runtime.source_hash import source_hash
from cam_adv.training.model_zoo import training_code
from cam_adv.training.store import MARK, OLD, RECIPE, TRAINING, StoreEntry, lock_path

FOLDER = re.compile(
    r"(?P<name>(?:victim|generator|surrogate|judge)-.+)-(?P<digest>[0-9a-f]{12})"
    rf"(?P<suffix>{re.escape(TRAINING)}|{re.escape(OLD)})?"
)
"""The names of a store's folders; others in it are not the store's."""

State = Literal[
    "current", "other version", "source changed", "half removed", "half trained", "no recipe", "not importable"
]
"""Whether a run of today's code with the same settings would use a model, and why not; the last three: not known."""

STALE: frozenset[State] = frozenset({"other version", "source changed", "half removed"})
"""States of models that no run of today's code would use."""


@dataclass(frozen=True)
class StoredModel:
    """A folder of a store: a model, an interrupted training, or what is left of a removed model.

    name: `<role>-<name>-<dataset>`.
    size: in bytes.
    last_used: in seconds since the epoch; the last change of its files if no run has loaded it since.
    """

    folder: Path
    name: str
    state: State
    size: int
    last_used: float

    def remove(self) -> bool:
        """Remove it, unless a run uses or trains it; whether it was removed."""
        lock = FileLock(lock_path(self._complete))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if _is_marked(self._complete):
                return False
            doomed = self.folder
            if doomed == self._complete:  # a model's folder never has an incomplete model
                doomed = doomed.with_name(doomed.name + OLD)
                shutil.rmtree(doomed, ignore_errors=True)
                self.folder.replace(doomed)
            with suppress(FileNotFoundError):  # what an earlier removal had left has gone with the model
                shutil.rmtree(doomed)
        finally:
            release_lock(lock)
        return True

    @property
    def _complete(self) -> Path:
        """The folder of the complete model."""
        return self.folder.with_name(self.folder.name.removesuffix(TRAINING).removesuffix(OLD))


def stored_models(store: Path) -> list[StoredModel]:
    """The models of a store by name, and those of one name by when they were used last."""
    models = []
    for folder in store.glob("*"):
        if folder.is_dir() and (match := FOLDER.fullmatch(folder.name)):
            with suppress(FileNotFoundError):  # a run has completed its training meanwhile
                models.append(_stored_model(folder, **match.groupdict()))
    return sorted(models, key=lambda model: (model.name, model.last_used))


def _stored_model(folder: Path, name: str, digest: str, suffix: str | None) -> StoredModel:
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return StoredModel(
        folder=folder,
        name=name,
        state=_state(folder, name, digest, suffix),
        size=sum(file.st_size for file in files),
        # Only a folder's own time is set when a model is loaded; the files of a training grow.
        last_used=max([folder.stat().st_mtime, *(file.st_mtime for file in files if suffix == TRAINING)]),
    )


def _state(folder: Path, name: str, digest: str, suffix: str | None) -> State:
    if suffix is not None:
        return "half removed" if suffix == OLD else "half trained"
    try:
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        if StoreEntry(folder.parent, name, recipe).digest != digest:
            return "other version"
        network, trained_by, code = recipe["network"], recipe["trained_by"], recipe["code"]
    except KeyError:
        return "other version"
    except (OSError, ValueError, TypeError):
        return "no recipe"
    try:
        same = code == training_code(network, get_object(trained_by))
    except Exception:  # importing a user's module may raise anything
        return "not importable"
    same &= recipe.get("normalized") in (None, source_hash(Normalized))
    return "current" if same else "source changed"


def _is_marked(folder: Path) -> bool:
    """Whether a process uses the model of this folder; marks of processes that were killed are removed."""
    for mark in folder.parent.glob(f".{folder.name}.*{MARK}"):
        lock = FileLock(mark)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        release_lock(lock)
    return False
