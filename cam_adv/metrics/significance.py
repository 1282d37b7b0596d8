"""The mean over victims and images, both drawn at random and crossed with each other, and Holm's correction.

A difference that every victim shows on every image has three sources of chance: which victims were trained, which
images were drawn, and what is peculiar to a pair of both. That is the design of readers who all read the same cases
(Dorfman, Berbaum and Metz 1992; Hillis 2007, Statistics in Medicine 26:596); here victims are the readers.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from cam_adv.metrics.bootstrap import check_no_nan
from cam_adv.metrics.intervals import Interval


@dataclass(frozen=True)
class CrossedMean:
    """A mean, its standard error, and the degrees of freedom of that error."""

    mean: float
    error: float
    freedom: float

    def interval(self, level: float) -> Interval:
        """Student's interval, level in (0, 1)."""
        half = self.error * float(student.isf((1 - level) / 2, self.freedom))
        return Interval(self.mean, self.mean - half, self.mean + half)

    def p_values(self, threshold: float) -> tuple[float, float]:
        """One-sided p-values of "the mean is at most the threshold" and of "it is at least the threshold".

        Without any spread they are 0 and 1, and both 1 at the threshold itself.
        """
        if self.error == 0:
            return float(self.mean <= threshold), float(self.mean >= threshold)
        statistic = (self.mean - threshold) / self.error
        return float(student.sf(statistic, self.freedom)), float(student.cdf(statistic, self.freedom))


def crossed_mean(values: Tensor, victim: Tensor, image: Tensor, cluster: Tensor) -> CrossedMean:
    """The mean over (victim, image) cells, whose error counts victims and clusters of images as drawn at random.

    The variance of the mean is V_victims + V_clusters − V_both, each the squared sums of the residuals within the
    groups (Cameron, Gelbach and Miller 2011, eq. 2.8), and at least each of the first two. In a full table of one
    image a cluster that is the variance of Dorfman, Berbaum and Metz. Its degrees of freedom are Satterthwaite's.
    With one victim the mean is about that victim, and only clusters are drawn.

    How often a test of 5% is wrong (`python -m cam_adv.studies.explanation_reliability.false_alarms`): at most 5%
    with five victims, however much these differ.

    Args:
        values: one for each row, `(n,)`.
        victim, image: which they are, any integers, `(n,)`. Rows of the same victim and image are averaged first.
        cluster: which cluster the image is in, any integers, `(n,)`; all rows of an image are in one.

    Raises:
        ValueError: a value is NaN, or there are fewer than two clusters.
    """
    check_no_nan(values)
    cells, cell = torch.stack([victim, image, cluster], dim=1).unique(dim=0, return_inverse=True)
    means = torch.zeros(len(cells), dtype=torch.float64).index_add_(0, cell, values.double()) / torch.bincount(cell)
    mean = means.mean()
    residuals = (means - mean) / len(cells)
    (by_victim, victims), (by_cluster, clusters), (by_both, _) = (
        _variance(residuals, cells[:, columns]) for columns in ([0], [2], [0, 2])
    )
    if clusters < 2:
        raise ValueError("one cluster has no spread to test against")
    if victims < 2:
        return CrossedMean(mean.item(), math.sqrt(by_cluster), clusters - 1)
    variance = max(by_victim, by_cluster, by_victim + by_cluster - by_both)
    if variance == 0:
        return CrossedMean(mean.item(), 0.0, clusters - 1)
    freedom = variance**2 / (by_victim**2 / (victims - 1) + by_cluster**2 / (clusters - 1))
    return CrossedMean(mean.item(), math.sqrt(variance), freedom)


def holm(p_values: Tensor) -> Tensor:
    """p-values adjusted for multiple tests (Holm 1979): rejecting those below a level controls the family-wise error.

    Args:
        p_values: `(m,)` in [0, 1].

    Returns:
        `(m,)` in [0, 1], in the order given.
    """
    ordered, order = p_values.sort()
    factors = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    adjusted = (ordered * factors).cummax(dim=0).values.clamp_max(1)
    return torch.empty_like(p_values).scatter_(0, order, adjusted)


def _variance(residuals: Tensor, group: Tensor) -> tuple[float, int]:
    """The squared sums of the residuals within the groups `(n, columns)`, and the number of groups."""
    groups, of_row = group.unique(dim=0, return_inverse=True)
    count = len(groups)
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, of_row, residuals)
    return (count / max(1, count - 1) * sums.square().sum()).item(), count
