"""Trained models on disk, each in a folder that is named after a digest of everything that determines it."""

import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_json
from cam_adv.runtime.digest import digest
from cam_adv.runtime.run_dir import release_lock

log = logging.getLogger(__name__)

CHECKPOINT = "model.ckpt"
METRICS = "metrics.json"
RECIPE = "recipe.json"
TRAINING = ".training"
OLD = ".old"
"""Suffixes of the folders of an incomplete model, and of one that is being removed."""

MARK = ".use"
"""Suffix of the files that a process locks for each model that it uses."""

TRAINING_STATE = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step"}
"""Keys that a checkpoint must have for a training to be resumed from it."""


@dataclass(frozen=True)
class StoreEntry:
    """One model of the store: `<root>/<name>-<digest>/` with its checkpoint, recipe and metrics.

    Until its training ends, its folder has the suffix `.training`; a later run resumes an interrupted training there.

    root: of the store.
    name: of the model; not unique.
    recipe: everything that determines the model, in values that JSON can hold.
    """

    root: Path
    name: str
    recipe: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of the recipe and the package's version."""
        return digest({"recipe": self.recipe}, {})

    @property
    def folder(self) -> Path:
        """Of the complete model."""
        return self.root / f"{self.name}-{self.digest}"

    @property
    def training_folder(self) -> Path:
        """Of a model whose training has not ended."""
        return self.folder.with_name(self.folder.name + TRAINING)

    def exists(self, since: float = 0.0) -> bool:
        """Whether the complete model is there, and was made at `since`, in seconds since the epoch, or later."""
        return self.folder.is_dir() and _modification_time(self.folder / METRICS) >= since

    def metrics(self) -> dict[str, float]:
        """The metrics on the test images at the end of the training.

        Raises:
            ValueError: the file holds something else.
        """
        metrics = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        if not isinstance(metrics, dict) or not all(isinstance(value, float | int) for value in metrics.values()):
            raise ValueError(f"{self.folder / METRICS} holds no metrics")
        return metrics

    def load_into(self, module: nn.Module) -> None:
        """Load the stored weights into a module of the same architecture; only tensors are unpickled.

        The modification time of the model's folder says when it was used last.

        Raises:
            UserError: the checkpoint is damaged or of another architecture.
        """
        path, remedy = self.folder / CHECKPOINT, f"Delete {self.folder}, or train it anew with retrain=true."
        checkpoint = read_checkpoint(path, remedy)
        try:
            module.load_state_dict(checkpoint["state_dict"])
            self.metrics()
        except (KeyError, RuntimeError, OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"The stored model {path} is not this network's ({type(error).__name__}).", remedy
            ) from error
        with suppress(OSError):  # a store that this user may only read
            os.utime(self.folder)

    def check_interrupted(self, module: nn.Module) -> None:
        """Check that an interrupted training of `module`, if there is one, can be resumed.

        Raises:
            UserError: its checkpoint is damaged, of another network, or has paths outside the training's folder.
        """
        path, remedy = self.training_folder / CHECKPOINT, f"Delete {self.training_folder}: the training starts anew."
        if not path.exists():
            return
        checkpoint = read_checkpoint(path, remedy)
        complete = isinstance(checkpoint, dict) and checkpoint.keys() >= TRAINING_STATE
        if not complete or _shapes(checkpoint["state_dict"]) != _shapes(module.state_dict()):
            raise UserError(f"{path} is no half-trained model of this network.", remedy)
        if any(".." in Path(text).parts for text in _strings(checkpoint.get("callbacks"))):
            raise UserError(f"{path} names files outside its own folder.", remedy)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Mark this entry as used by this process, so that it is not removed (`stored_models`).

        The mark is a locked file: of a process that was killed it counts no more. A store that this user may only
        read gets none.
        """
        mark = FileLock(self.root / f".{self.folder.name}.{secrets.token_hex(4)}{MARK}")
        with ExitStack() as held:
            with suppress(OSError):
                self.root.mkdir(parents=True, exist_ok=True)
                mark.acquire(timeout=0)
                held.callback(release_lock, mark)
            yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock this entry, so that of two runs that need the same model one trains it and the other waits."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path(self.folder))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Another run is training %s: waiting for it.", self.folder.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def get_or_train(self, train: Callable[[Path], Mapping[str, float]], since: float = 0.0) -> None:
        """Train the model unless it exists, which is checked under the lock.

        Args:
            train: writes `model.ckpt` to the folder that it is given, resuming from one that it finds there, and
                returns the metrics.
            since: a model, complete or not, that is older, in seconds since the epoch, is trained again; a complete
                one is replaced once the new one is complete.
        """
        with self.lock():
            if self.exists(since):
                return
            if _modification_time(self.training_folder / CHECKPOINT) < since:
                shutil.rmtree(self.training_folder, ignore_errors=True)
            self.training_folder.mkdir(parents=True, exist_ok=True)
            metrics = train(self.training_folder)
            write_json(self.training_folder / RECIPE, self.recipe)
            write_json(self.training_folder / METRICS, metrics)
            old = self.folder.with_name(self.folder.name + OLD)
            shutil.rmtree(old, ignore_errors=True)
            if self.exists():
                self.folder.replace(old)  # the folder of this name never has an incomplete model
            self.training_folder.replace(self.folder)
            shutil.rmtree(old, ignore_errors=True)


def lock_path(folder: Path) -> Path:
    """The file that is locked while the model of this folder is trained or removed."""
    return folder.with_name(f".{folder.name}.lock")


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are unpickled.

    Args:
        remedy: of the error message.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise many kinds of errors in torch.load
        raise UserError(f"The model {path} is damaged ({type(error).__name__}).", remedy) from error


def _shapes(state: Any) -> dict[str, torch.Size | None]:
    """The shapes of tensors by name; None for a value that is no tensor."""
    return {name: getattr(value, "shape", None) for name, value in state.items()} if isinstance(state, dict) else {}


def _strings(node: Any) -> Iterator[str]:
    """Every string in nested plain values."""
    if isinstance(node, Mapping):
        for child in (*node.keys(), *node.values()):
            yield from _strings(child)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _strings(child)
    elif isinstance(node, str):
        yield node


def _modification_time(path: Path) -> float:
    """Of a file, in seconds since the epoch; 0 if it does not exist."""
    return path.stat().st_mtime if path.exists() else 0.0
