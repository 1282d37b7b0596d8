"""Timings of two ways to do the same work, in alternation, so that a change of the machine's speed affects both."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Comparison:
    """One row of the benchmark.

    Attributes:
        case: the work.
        baseline: what it is compared with.
        ours, theirs: median costs over the repeats in `unit`, lower is better.
        speedup: median of theirs / ours over pairs of consecutive measurements.
        low, high: first and last decile of these ratios.
        target_speedup: the speedup that should be reached at least, None if there is no target.
        flops: floating-point operations in one unit of ours, None if they were not counted.
    """

    case: str
    baseline: str
    ours: float
    theirs: float
    speedup: float
    low: float
    high: float
    unit: str
    target_speedup: float | None = None
    flops: float | None = None


def compare(
    case: str,
    ours: Callable[[], float],
    baseline: str,
    theirs: Callable[[], float],
    repeats: int,
    unit: str = "s",
    target_speedup: float | None = None,
    flops: float | None = None,
) -> Comparison:
    """Measure both in alternation, `repeats` times after a warm-up round.

    Args:
        case: the work. baseline: what it is compared with.
        ours, theirs: do the work and return its cost in `unit`; see `timed`.
        repeats: at least 1.
        target_speedup, flops: see `Comparison`.
    """
    ours(), theirs()
    return compare_pairs(case, baseline, [(ours(), theirs()) for _ in range(repeats)], unit, target_speedup, flops)


def compare_pairs(
    case: str,
    baseline: str,
    pairs: list[tuple[float, float]],
    unit: str,
    target_speedup: float | None = None,
    flops: float | None = None,
) -> Comparison:
    """The comparison of measured pairs of costs (ours, theirs)."""
    ratios = [theirs / ours for ours, theirs in pairs]
    deciles = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else ratios
    our_cost, their_cost = (median(column) for column in zip(*pairs, strict=True))
    return Comparison(
        case,
        baseline,
        our_cost,
        their_cost,
        median(ratios),
        deciles[0],
        deciles[-1],
        unit,
        target_speedup,
        flops,
    )


def timed(work: Callable[[], object], share: float = 1.0) -> Callable[[], float]:
    """A function for `compare`: does `work` and returns its seconds times `share`, the share of one unit in it."""

    def measure() -> float:
        start = time.perf_counter()
        work()
        return share * (time.perf_counter() - start)

    return measure
