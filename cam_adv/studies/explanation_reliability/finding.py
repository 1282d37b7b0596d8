"""From measured rows to an answer, by a rule that is fixed before anything is measured.

A claim states that an effect exceeds the smallest effect that counts. Yes and no are both tested: one p-value is that
of "the effect is at most that size", the other that of "it is at least that size". Holm's correction is over both
directions and all attribution methods. The answer is yes if the first is rejected, no if the second is, and undecided
otherwise; always with fewer than ten clusters.

Victims and images count as drawn at random (`crossed_mean`). Images that depend on each other, since their attacks
began at one start, are one cluster.

Concealment (H3) claims the *absence* of effects (the map adds nothing that separates attacked from clean, and no more
attacked maps are caught than clean ones), so its answer is the negation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from scipy.stats import t as student
from torch import Tensor

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.clusters import connected_clusters
from cam_adv.metrics.intervals import effective_trials, score_interval, score_statistic
from cam_adv.metrics.significance import crossed_mean, holm

NOTHING_TO_LOSE: Literal["nothing to lose"] = "nothing to lose"
WITHHELD: Literal["withheld"] = "withheld"
Verdict = Answer | Literal["nothing to lose", "withheld"]
"""Nothing to lose: the map says no more on x than a meaningless one. Withheld: known answers came out wrong."""

MIN_CLUSTERS = 10
"""With fewer nothing is decided: a few equal values have an interval of zero width."""


@dataclass(frozen=True)
class Estimate:
    """A mean over (victim, image) cells with its interval.

    p_above, p_below: of "at most the smallest effect that counts" and "at least": small where it is above, or below.
    rows, images, clusters: how many measured values, of how many source images, in how many independent clusters (the
    effective number). NaN and p = 1 with too few.
    """

    effect: float
    low: float
    high: float
    p_above: float
    p_below: float
    rows: int
    images: int
    clusters: int


@dataclass(frozen=True)
class Finding:
    """The verdict on one claim about one attribution method; `details` are further estimates by name.

    among_reconstructions: of concealment, the verdict against reconstructions instead of clean images; else None.
    """

    estimate: Estimate
    verdict: Verdict
    details: Mapping[str, Estimate]
    among_reconstructions: Verdict | None = None


NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan, 1.0, 1.0, 0, 0, 0)
NO_FINDING = Finding(NO_ESTIMATE, "undecided", {})


@dataclass(frozen=True)
class Estimator:
    """Estimates from the columns of a table; `level` is that of the intervals."""

    level: float

    def mean(self, table: Mapping[str, Tensor], values: Tensor, threshold: float) -> Estimate:
        """Mean, interval and tests of `values` `(n,)` against a threshold; rows with NaN are left out.

        Args:
            table: with the columns `victim`, `image` and `start`.
        """
        victim, image, cluster, values = _defined(table, values)
        found = _counted(image, cluster)
        if found.clusters < 2:
            return found
        mean = crossed_mean(values, victim, image, cluster)
        interval = mean.interval(self.level)
        found = replace(found, effect=mean.mean, low=interval.low, high=interval.high)
        return _if_enough(found, *mean.p_values(threshold))

    def share(self, table: Mapping[str, Tensor], met: Tensor, threshold: float) -> Estimate:
        """Share of rows that met a criterion `(n,)`, with an interval of a positive width even where all agree.

        The interval is Wilson's and the tests are score tests at the effective number of rows, which is that of
        independent rows with the variance of `crossed_mean`.
        """
        victim, image, cluster, met = _defined(table, met)
        found = _counted(image, cluster)
        if found.clusters < 2:
            return found
        mean = crossed_mean(met, victim, image, cluster)
        share, freedom = mean.mean, mean.freedom
        if mean.error > 0:
            trials = min(len(met), share * (1 - share) / mean.error**2)
        else:
            trials, freedom = effective_trials(met.bool().tolist(), cluster.tolist()), found.clusters - 1
        rate = score_interval(share * trials, trials, float(student.isf((1 - self.level) / 2, freedom)))
        found = replace(found, effect=rate.rate, low=rate.low, high=rate.high)
        statistic = score_statistic(share, trials, threshold)
        return _if_enough(found, float(student.sf(statistic, freedom)), float(student.cdf(statistic, freedom)))


def decide(found: Estimate, level: float) -> Answer:
    """Does the effect exceed the smallest effect that counts? By the rule above, with the adjusted p in `found`."""
    if found.p_above <= 1 - level:
        return "yes"
    return "no" if found.p_below <= 1 - level else "undecided"


def holm_adjust(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The same estimates with both p adjusted by Holm for twice the number of estimates."""
    p_values = [p for found in estimates.values() for p in (found.p_above, found.p_below)]
    adjusted = holm(torch.tensor(p_values, dtype=torch.float64)).reshape(-1, 2).tolist()
    return {
        name: replace(found, p_above=above, p_below=below)
        for (name, found), (above, below) in zip(estimates.items(), adjusted, strict=True)
    }


def all_exceed(estimates: Mapping[str, Estimate]) -> Estimate:
    """That each of several effects is above its threshold, by the intersection-union test: the smallest effect.

    That it is not so is shown by any one that is below, with Bonferroni's correction for their number.
    """
    smallest = min(estimates.values(), key=lambda found: -math.inf if math.isnan(found.effect) else found.effect)
    if math.isnan(smallest.effect):
        return smallest
    return replace(
        smallest,
        p_above=max(found.p_above for found in estimates.values()),
        p_below=min(1.0, len(estimates) * min(found.p_below for found in estimates.values())),
    )


def any_exceeds(first: Estimate, other: Estimate) -> Estimate:
    """That one of two effects is above its threshold, with Bonferroni's correction; the numbers are the first one's.

    That neither is so is shown by both that are below.
    """
    if math.isnan(first.effect):
        return first
    return replace(
        first,
        p_above=min(1.0, 2 * min(first.p_above, other.p_above)),
        p_below=max(first.p_below, other.p_below),
    )


def _defined(table: Mapping[str, Tensor], values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Victim, image, cluster and value of every row whose value is not NaN."""
    rows = ~values.isnan()
    victim, image, start = (table[name][rows] for name in ("victim", "image", "start"))
    return victim, image, connected_clusters(image, start), values[rows]


def _counted(image: Tensor, cluster: Tensor) -> Estimate:
    return replace(NO_ESTIMATE, rows=len(image), images=len(image.unique()), clusters=len(cluster.unique()))


def _if_enough(found: Estimate, p_above: float, p_below: float) -> Estimate:
    return found if found.clusters < MIN_CLUSTERS else replace(found, p_above=p_above, p_below=p_below)
