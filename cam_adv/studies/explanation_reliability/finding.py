"""From measured rows to yes, no or undecided, by a rule that is fixed before anything is measured.

A claim states that an effect exceeds the smallest effect that counts. The verdict is

- yes: the whole interval lies above that size, and the test against no effect, adjusted by Holm for the number of
  attribution methods, rejects at 1 − level;
- no: the whole interval lies below it, whatever the test says: the effect, if any, is too small to count;
- undecided: otherwise, and always with fewer than ten images.

Concealment (H3) claims the *absence* of an effect (the map adds nothing that separates attacked from clean), so its
verdict is the negation: a wide interval is no evidence of concealment, it leaves the claim undecided.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.bootstrap import hierarchical_bootstrap
from cam_adv.metrics.significance import equivalence_test, holm, sign_flip_test

MIN_IMAGES = 10
"""With fewer nothing is decided: a few equal values have an interval of zero width."""


@dataclass(frozen=True)
class Estimate:
    """A mean over (victim, image) cells with its interval.

    p: of the sign-flip test against 0. equivalence_p: of "at least the smallest effect that counts, in either
    direction". rows, images: how many measured values, of how many source images. NaN and p = 1 with too few.
    """

    effect: float
    low: float
    high: float
    p: float
    equivalence_p: float
    rows: int
    images: int


@dataclass(frozen=True)
class Finding:
    """The verdict on one claim about one attribution method; `details` are further estimates by name."""

    estimate: Estimate
    verdict: Answer
    details: Mapping[str, Estimate]


NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan, 1.0, 1.0, 0, 0)
NO_FINDING = Finding(NO_ESTIMATE, "undecided", {})


def estimate(
    values: Tensor, victim: Tensor, image: Tensor, min_effect: float, n_resamples: int, level: float, seed: int
) -> Estimate:
    """Mean, interval and tests of `values` `(n,)`, measured for `victim` `(n,)` and source `image` `(n,)`."""
    generator = torch.Generator().manual_seed(seed)
    images = len(image.unique())
    no_estimate = replace(NO_ESTIMATE, rows=len(values), images=images)
    if images < 2:
        return no_estimate
    try:
        interval = hierarchical_bootstrap(values, victim, image, n_resamples, level, generator)
    except ValueError:
        if values.isnan().any():
            raise
        return no_estimate  # the victims share so few images that some resamples are empty
    p = sign_flip_test(values, image, n_resamples, generator)
    constant = bool((values == values[0]).all())  # no spread, by which the t-test divides
    equivalence_p = float(values[0].abs() >= min_effect) if constant else equivalence_test(values, image, min_effect)
    return Estimate(interval.estimate, interval.low, interval.high, p, equivalence_p, len(values), images)


def decide(found: Estimate, min_effect: float, level: float) -> Answer:
    """Does the effect exceed `min_effect`? By the rule above, with the adjusted p in `found`."""
    if found.images < MIN_IMAGES:
        return "undecided"
    if found.low > min_effect and found.p <= 1 - level:
        return "yes"
    return "no" if found.high < min_effect else "undecided"  # comparisons with NaN are false


def holm_adjust(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The same estimates with their p adjusted by Holm for the number of estimates."""
    p_values = holm(torch.tensor([found.p for found in estimates.values()], dtype=torch.float64)).tolist()
    return {name: replace(found, p=p) for (name, found), p in zip(estimates.items(), p_values, strict=True)}


def intersection_union(estimates: Mapping[str, Estimate]) -> Estimate:
    """Intersection-union test that all of several effects are large: the smallest one, with the largest p."""
    smallest = min(estimates.values(), key=lambda found: -math.inf if math.isnan(found.low) else found.low)
    return replace(smallest, p=max(found.p for found in estimates.values()))
