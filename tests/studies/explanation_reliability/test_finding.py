"""The decision rule and the combination of tests."""

import math
from dataclasses import replace

import pytest

from cam_adv.studies.explanation_reliability.finding import (
    MIN_IMAGES,
    NO_ESTIMATE,
    Estimate,
    decide,
    holm_adjust,
    intersection_union,
)


def make_estimate(effect: float, low: float, high: float, p: float, images: int = 50) -> Estimate:
    return Estimate(effect, low, high, p, 1.0, images, images)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (make_estimate(0.3, 0.2, 0.4, 0.001), "yes"),
        (make_estimate(0.3, 0.2, 0.4, 0.06), "undecided"),  # the test does not reject
        (make_estimate(0.3, 0.04, 0.6, 0.001), "undecided"),  # possibly too small to count
        (make_estimate(0.01, 0.005, 0.02, 0.001), "no"),  # significant, but too small to count
        (make_estimate(-0.5, -0.6, -0.4, 0.001), "no"),
        (make_estimate(0.0, -0.2, 0.2, 1.0), "undecided"),
        (make_estimate(0.0, 0.0, 0.0, 1.0, MIN_IMAGES - 1), "undecided"),
        (NO_ESTIMATE, "undecided"),
    ],
)
def test_decide_by_interval_and_p(found: Estimate, expected: str) -> None:
    assert decide(found, min_effect=0.05, level=0.95) == expected


def test_intersection_union_takes_the_smallest_effect_and_the_largest_p() -> None:
    one, other = make_estimate(0.3, 0.2, 0.4, 0.001), make_estimate(0.2, 0.1, 0.3, 0.2)
    assert intersection_union({"one": one, "other": other}) == other
    assert intersection_union({"one": one, "other": replace(other, p=0.0001)}).p == 0.001
    assert math.isnan(intersection_union({"one": one, "nothing": NO_ESTIMATE}).effect)


def test_holm_adjust_changes_p_for_the_number_of_estimates() -> None:
    estimates = {
        "a": make_estimate(1, 1, 1, 0.01),
        "b": make_estimate(1, 1, 1, 0.02),
        "c": make_estimate(1, 1, 1, 0.5),
    }
    assert [found.p for found in holm_adjust(estimates).values()] == pytest.approx([0.03, 0.04, 0.5])
