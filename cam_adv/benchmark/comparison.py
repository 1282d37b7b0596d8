"""Two ways to do one thing, timed in turn, so that a machine that slows down slows both."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Comparison:
    """One line of the benchmark.

    ours, other: medians over the repeats, in `unit`. ratio: the median of ours / other, each pair timed in a row;
    low, high: the first and the last decile of these ratios. limit: what the ratio should not exceed.
    """

    case: str
    beside: str
    ours: float
    other: float
    ratio: float
    low: float
    high: float
    unit: str
    limit: float


def compare(
    case: str, ours: Callable[[], object], beside: str, other: Callable[[], object], repeats: int, limit: float
) -> Comparison:
    """Time both in turn, `repeats` times after a first round that warms them up.

    Args:
        case: what is done. beside: what it is held against.
        repeats: at least 2.
        limit: what the ratio should not exceed.
    """
    _seconds(ours), _seconds(other)
    pairs = [(_seconds(ours), _seconds(other)) for _ in range(repeats)]
    ratios = [mine / theirs for mine, theirs in pairs]
    deciles = quantiles(ratios, n=10, method="inclusive")
    own, others = (median(column) for column in zip(*pairs, strict=True))
    return Comparison(case, beside, own, others, median(ratios), deciles[0], deciles[-1], "s", limit)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
