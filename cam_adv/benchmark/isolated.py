"""A benchmark case in a process of its own, so that the peak memory is that of the case alone."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from cam_adv.benchmark.comparison import Comparison
from cam_adv.benchmark.machine import peak_memory


@dataclass(frozen=True)
class IsolatedRun:
    """A comparison, the peak memory of its process in bytes, and the seconds that the whole case took."""

    comparison: Comparison
    peak_memory: float
    seconds: float


def run_isolated(case: Callable[[int], Comparison], repeats: int) -> IsolatedRun:
    """Run the case with `repeats` in a new process; its exceptions are raised here."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, case, repeats).result()


def _run(case: Callable[[int], Comparison], repeats: int) -> IsolatedRun:
    start = time.perf_counter()
    comparison = case(repeats)
    return IsolatedRun(comparison, peak_memory(), time.perf_counter() - start)
