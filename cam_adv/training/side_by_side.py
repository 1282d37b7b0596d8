"""Several trainings at the same time, each in a process of its own, which share one device."""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from cam_adv.errors import UserError
from cam_adv.runtime.standard_streams import protect_standard_streams
from cam_adv.runtime.start_method import use_known_start_method
from cam_adv.training.train import TrainSpec, get_or_train
from cam_adv.training.trainer import TrainingProgress

START_METHOD = "spawn"
"""A process that uses a GPU can't be forked."""


def train_side_by_side(trainings: Sequence[TrainSpec], since: float, number: int) -> None:
    """Train models into their store entries, begun in this order, `number` of them at the same time.

    The first error ends the other trainings, which a later run resumes.

    Args:
        since: see `get_or_train`.

    Raises:
        UserError: one of a training; a network can't be sent to another process; a process has been killed.
    """
    use_known_start_method()
    context = multiprocessing.get_context(START_METHOD)
    lines = context.SimpleQueue()
    for line in range(number):
        lines.put(line)
    arguments = (max(1, torch.get_num_threads() // number), logging.root.level, context.RLock(), lines)
    before = set(multiprocessing.active_children())
    with (
        TemporaryDirectory(prefix="cam_adv-") as folder,
        ProcessPoolExecutor(number, context, initializer=_start_worker, initargs=arguments) as pool,
    ):
        file = Path(folder) / "trainings.pt"
        _save(trainings, file)
        try:
            running = [pool.submit(_train, file, index, since) for index in range(len(trainings))]
            for ended in as_completed(running):
                ended.result()
        except BaseException as error:
            for worker in set(multiprocessing.active_children()) - before:
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "A process that trained a model was killed, perhaps because memory had run out.",
                    "Lower hardware.trainings, and start the command again; what is finished stays.",
                ) from error
            raise


def _save(trainings: Sequence[TrainSpec], file: Path) -> None:
    """Write trainings to a file, from which each process maps the same images into its memory.

    Shared memory would do without the file, but in a container it is often smaller than a dataset.
    """
    try:
        torch.save(list(trainings), file)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"A network can't be sent to a process that trains it: {error}.",
            "Define its classes and functions at the top of a module, or set hardware.trainings to 1.",
        ) from error


def _train(file: Path, index: int, since: float) -> None:
    # Written by this command's own process. Weights that change are copied; the file does not change.
    trainings: list[TrainSpec] = torch.load(file, map_location="cpu", mmap=True, weights_only=False)
    get_or_train(trainings[index], since)


def _start_worker(threads: int, log_level: int, lock: Any, lines: Any) -> None:
    """Prepare a process for trainings; it ends with the command's process, or when that tells it to.

    Args:
        lock: of the terminal.
        lines: of the terminal that no process has taken.
    """
    protect_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the command's process decides
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))  # else Lightning would wait
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=log_level, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(threads)
    tqdm.set_lock(lock)
    TrainingProgress.line = lines.get()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
