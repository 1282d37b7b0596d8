"""The threshold of a detector from honest scores alone."""

import math

from torch import Tensor


def conformal_rank(count: int, level: float) -> int:
    """Which of n scores, in ascending order, a further one exceeds with a probability of at most `level`.

    ⌈(1 − level)·(n + 1)⌉, if all n + 1 are exchangeable (Vovk, Gammerman and Shafer 2005, section 2.2). An
    interpolated quantile is exceeded more often. The rank can be beyond n.
    """
    return math.ceil((1 - level) * (count + 1))


def conformal_threshold(scores: Tensor, level: float) -> float:
    """The score of `conformal_rank`, infinite where that is beyond n: no score is then high enough.

    Args:
        scores: `(n,)`.
        level: in (0, 1).
    """
    rank = conformal_rank(len(scores), level)
    return scores.sort().values[rank - 1].item() if rank <= len(scores) else math.inf
