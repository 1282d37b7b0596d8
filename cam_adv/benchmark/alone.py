"""A case in a process of its own, whose memory is the case's alone."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from cam_adv.benchmark.comparison import Comparison
from cam_adv.benchmark.machine import peak_memory


@dataclass(frozen=True)
class Measured:
    """A line, how much memory its process had at most in bytes, and how long all of it took in seconds."""

    line: Comparison
    memory: float
    took: float


def alone(case: Callable[[int], Comparison], repeats: int) -> Measured:
    """What the case measures with so many `repeats`; an exception of its own comes through."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, case, repeats).result()


def _measure(case: Callable[[int], Comparison], repeats: int) -> Measured:
    start = time.perf_counter()
    line = case(repeats)
    return Measured(line, peak_memory(), time.perf_counter() - start)
