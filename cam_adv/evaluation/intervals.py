"""Confidence intervals of a rate."""

import math
from dataclasses import dataclass

NORMAL_QUANTILE_975 = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """A share of trials with its Wilson 95% interval."""

    rate: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Rate:
    """The Wilson score interval at 95% (Wilson 1927), which behaves at 0 and 1 where the normal one doesn't.

    Raises:
        ValueError: no trials, or successes outside [0, trials].
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials have no rate")
    share, z2 = successes / trials, NORMAL_QUANTILE_975**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = (NORMAL_QUANTILE_975 / (1 + z2 / trials)) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Rate(share, max(0.0, centre - half), min(1.0, centre + half))
