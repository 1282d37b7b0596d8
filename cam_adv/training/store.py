"""Trained models on disk, each found again by everything that made it."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from cam_adv.digest import digest
from cam_adv.errors import UserError

log = logging.getLogger(__name__)

CHECKPOINT = "model.ckpt"
METRICS = "metrics.json"
OF_A_TRAINING = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step"}
"""What a checkpoint must hold for a training to go on from it."""


@dataclass(frozen=True)
class Entry:
    """One model of the store: `<root>/<name>-<digest>/` with its checkpoint, recipe and metrics.

    While it is trained it stands in a folder with the ending `.training`, which a later run goes on with;
    it gets its name when it is whole.
    """

    root: Path
    name: str
    recipe: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of the recipe and of the package's version."""
        return digest({"recipe": self.recipe}, {})

    @property
    def folder(self) -> Path:
        return self.root / f"{self.name}-{self.digest}"

    @property
    def training_folder(self) -> Path:
        return self.folder.with_name(self.folder.name + ".training")

    def exists(self, since: float = 0.0) -> bool:
        """Whether the model is there, made at `since`, in seconds since the epoch, or later."""
        return self.folder.is_dir() and _written(self.folder / METRICS) >= since

    def metrics(self) -> dict[str, float]:
        """What was measured when the model was made.

        Raises:
            ValueError: the file holds something else.
        """
        metrics = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        if not isinstance(metrics, dict) or not all(isinstance(value, float | int) for value in metrics.values()):
            raise ValueError(f"{self.folder / METRICS} holds no figures")
        return metrics

    def load_into(self, module: nn.Module) -> None:
        """Put the stored weights into a module of the same architecture; nothing but tensors is unpickled.

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

    def check_interrupted(self, module: nn.Module) -> None:
        """Make sure that a training of `module` that was interrupted can go on.

        Raises:
            UserError: its checkpoint is damaged, of another network, or would lead the training out of its folder.
        """
        path, remedy = self.training_folder / CHECKPOINT, f"Delete {self.training_folder}: the training starts anew."
        if not path.exists():
            return
        found = read_checkpoint(path, remedy)
        own = {name: value.shape for name, value in module.state_dict().items()}
        whole = isinstance(found, dict) and found.keys() >= OF_A_TRAINING
        if not whole or _shapes(found["state_dict"]) != own:
            raise UserError(f"{path} is no half-trained model of this network.", remedy)
        if any(".." in Path(text).parts for text in _texts(found.get("callbacks"))):
            raise UserError(f"{path} names files outside its own folder.", remedy)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this entry alone, so that of two runs that want the same model one trains and one waits."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / f".{self.folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Another run is training %s: waiting for it.", self.folder.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def create(self, train: Callable[[Path], Mapping[str, float]], since: float = 0.0) -> None:
        """Train the model unless it is there by now; one that is there is replaced when the new one is whole.

        Args:
            train: leaves `model.ckpt` in the folder that it is given, going on from one that it finds
                there, and returns the metrics.
            since: a model, or half of one, that is older, in seconds since the epoch, counts as not there.
        """
        with self.lock():
            if self.exists(since):
                return
            if _written(self.training_folder / CHECKPOINT) < since:
                shutil.rmtree(self.training_folder, ignore_errors=True)
            self.training_folder.mkdir(parents=True, exist_ok=True)
            metrics = train(self.training_folder)
            _write_json(self.training_folder / "recipe.json", self.recipe)
            _write_json(self.training_folder / METRICS, metrics)
            old = self.folder.with_name(self.folder.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            if self.exists():
                self.folder.replace(old)  # half of a model never stands under its name
            self.training_folder.replace(self.folder)
            shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Read a checkpoint; nothing but tensors and plain values is unpickled.

    Raises:
        UserError: it is damaged, or holds something else; `remedy` says what to do then.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for damaged bytes: all mean the same here
        raise UserError(f"The model {path} is damaged ({type(error).__name__}).", remedy) from error


def _shapes(state: Any) -> dict[str, torch.Size | None]:
    """Of tensors by name; None for what is no tensor."""
    return {name: getattr(value, "shape", None) for name, value in state.items()} if isinstance(state, dict) else {}


def _texts(node: Any) -> Iterator[str]:
    """Every text in nested plain values."""
    if isinstance(node, Mapping):
        for child in (*node.keys(), *node.values()):
            yield from _texts(child)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _texts(child)
    elif isinstance(node, str):
        yield node


def _written(path: Path) -> float:
    """When a file was written last, in seconds since the epoch; 0 for none."""
    return path.stat().st_mtime if path.exists() else 0.0


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
