"""Two ways to do one thing, timed in turn, so that a machine that slows down slows both."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Comparison:
    """One line of the benchmark.

    ours, other: medians over the repeats, in `unit`, so that less is better. ratio: how many times as fast ours is,
    the median of other / ours over pairs that were timed in a row; low, high: the first and the last decile of these
    ratios. reach: what the ratio should come to at least, None where there is nothing that it should. operations:
    floating-point operations in one unit of ours, None where nobody counted.
    """

    case: str
    beside: str
    ours: float
    other: float
    ratio: float
    low: float
    high: float
    unit: str
    reach: float | None = None
    operations: float | None = None


def compare(
    case: str,
    ours: Callable[[], float],
    beside: str,
    other: Callable[[], float],
    repeats: int,
    unit: str = "s",
    reach: float | None = None,
    operations: float | None = None,
) -> Comparison:
    """Measure both in turn, `repeats` times after a first round that warms them up.

    Args:
        case: what is done. beside: what it is held against.
        ours, other: do it, and say what it cost in `unit`; see `seconds`.
        repeats: at least 1.
        reach, operations: see `Comparison`.
    """
    ours(), other()
    return of_pairs(case, beside, [(ours(), other()) for _ in range(repeats)], unit, reach, operations)


def of_pairs(
    case: str,
    beside: str,
    pairs: list[tuple[float, float]],
    unit: str,
    reach: float | None = None,
    operations: float | None = None,
) -> Comparison:
    """The line that pairs of costs, ours and the other's, come to."""
    ratios = [theirs / mine for mine, theirs in pairs]
    deciles = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else ratios
    own, others = (median(column) for column in zip(*pairs, strict=True))
    return Comparison(case, beside, own, others, median(ratios), deciles[0], deciles[-1], unit, reach, operations)


def seconds(work: Callable[[], object], share: float = 1.0) -> Callable[[], float]:
    """What `work` takes, as a function for `compare`; `share`: of it that is one unit."""

    def timed() -> float:
        start = time.perf_counter()
        work()
        return share * (time.perf_counter() - start)

    return timed
