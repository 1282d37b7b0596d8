"""The threshold of a detector from honest scores alone."""

import math

from torch import Tensor


def conformal_threshold(scores: Tensor, level: float) -> float:
    """A score that a further one, exchangeable with these, exceeds with a probability of at most `level`.

    The ⌈(1 − level)·(n + 1)⌉-th smallest of n scores (Vovk, Gammerman and Shafer 2005, section 2.2); an interpolated
    quantile of so few is exceeded more often. Infinite where that rank is beyond n: no score is then high enough.

    Args:
        scores: `(n,)`.
        level: in (0, 1).
    """
    rank = math.ceil((1 - level) * (len(scores) + 1))
    return scores.sort().values[rank - 1].item() if rank <= len(scores) else math.inf
