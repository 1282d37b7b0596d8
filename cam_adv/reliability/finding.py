"""From measured rows to yes, no or undecided, by a rule that is fixed before anything is measured.

A claim is that an effect exceeds the smallest one that matters. It is answered

- yes: the whole interval lies above that size, and the test against no effect, corrected by Holm for the number of
  explanations, rejects at 1 − level;
- no: the whole interval lies below it, whatever the test says: what is there, if anything, is too small to matter;
- undecided: else, and always where fewer than ten images were left to measure.

H3 claims that something is *not* there (the map adds nothing to telling attacked from honest), so its answers are the
other way round: a wide interval is no evidence of concealment, it leaves the claim undecided.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from cam_adv.evaluation.bootstrap import hierarchical_bootstrap
from cam_adv.evaluation.significance import equivalence_test, holm, sign_flip_test

Verdict = Literal["yes", "no", "undecided"]

FEWEST = 10
"""Images below which nothing is decided: a handful of equal values has an interval without width."""


@dataclass(frozen=True)
class Estimate:
    """A mean over (victim, image) cells with its interval.

    p: of the sign-flip test against 0. equivalence_p: of "at least the smallest effect that matters, either way".
    rows, images: how many measured values, of how many source images. NaN and p = 1 where there are too few.
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
    """The answer to one claim about one explanation; `details` are further estimates by name."""

    estimate: Estimate
    verdict: Verdict
    details: Mapping[str, Estimate]


NOTHING_MEASURED = Estimate(math.nan, math.nan, math.nan, 1.0, 1.0, 0, 0)
NOTHING_SEEN = Finding(NOTHING_MEASURED, "undecided", {})


def estimate(
    values: Tensor, victim: Tensor, image: Tensor, matters: float, resamples: int, level: float, seed: int
) -> Estimate:
    """Mean, interval and tests of `values` `(n,)`, measured for `victim` `(n,)` and source `image` `(n,)`."""
    draws = torch.Generator().manual_seed(seed)
    images = len(image.unique())
    unknown = replace(NOTHING_MEASURED, rows=len(values), images=images)
    if images < 2:
        return unknown
    try:
        interval = hierarchical_bootstrap(values, victim, image, resamples, level, draws)
    except ValueError:
        if values.isnan().any():
            raise
        return unknown  # the victims share so few images that resamples come out empty
    p = sign_flip_test(values, image, resamples, draws)
    constant = bool((values == values[0]).all())  # has no spread, which the t-test divides by
    equivalence_p = float(values[0].abs() >= matters) if constant else equivalence_test(values, image, matters)
    return Estimate(interval.estimate, interval.low, interval.high, p, equivalence_p, len(values), images)


def answer(found: Estimate, matters: float, level: float) -> Verdict:
    """Is the effect larger than what matters? By the rule above; the p of `found` is the corrected one."""
    if found.images < FEWEST:
        return "undecided"
    if found.low > matters and found.p <= 1 - level:
        return "yes"
    return "no" if found.high < matters else "undecided"  # NaN is below nothing


def opposite(verdict: Verdict) -> Verdict:
    """The answer to the claim's contrary."""
    return {"yes": "no", "no": "yes", "undecided": "undecided"}[verdict]


def corrected(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The same estimates with their p corrected by Holm for how many they are."""
    p_values = holm(torch.tensor([found.p for found in estimates.values()], dtype=torch.float64)).tolist()
    return {name: replace(found, p=p) for (name, found), p in zip(estimates.items(), p_values, strict=True)}


def worst(estimates: Mapping[str, Estimate]) -> Estimate:
    """That the effect exceeds each of several: the smallest one, with the largest p (intersection-union test)."""
    smallest = min(estimates.values(), key=lambda found: -math.inf if math.isnan(found.low) else found.low)
    return replace(smallest, p=max(found.p for found in estimates.values()))
