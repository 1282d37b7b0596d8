"""Intervals of a rate and of a difference of rates: against SciPy, published tables, and by hand."""

import math

import pytest
from scipy.stats import binomtest

from cam_adv.metrics.intervals import newcombe, newcombe_paired, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (1, 3), (150, 200), (999, 1000)])
def test_wilson_matches_scipy(successes: int, trials: int) -> None:
    ours = wilson(successes, trials)
    oracle = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert (ours.rate, ours.low, ours.high) == pytest.approx((successes / trials, oracle.low, oracle.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_invalid_counts_raise(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no rate"):
        wilson(successes, trials)


def test_wilson_level_solves_its_equation() -> None:
    """By the equation it solves: |share − p| = z·sqrt(p(1 − p)/n) at both ends."""
    rate = wilson(7, 20, level=0.99)
    for end in (rate.low, rate.high):
        assert abs(0.35 - end) == pytest.approx(2.5758293 * math.sqrt(end * (1 - end) / 20), abs=1e-7)


@pytest.mark.parametrize(
    ("after", "before", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_matches_published_table(
    after: tuple[int, int], before: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, table II, method 10."""
    interval = newcombe(wilson(*after), wilson(*before))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert interval.estimate == pytest.approx(after[0] / after[1] - before[0] / before[1])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 1, 7, 12), (0.2857, 0.026, 0.507)),  # Bentur et al. 2009, as in Fagerland et al. 2014
        ((20, 12, 2, 16), (-0.2, -0.3292, -0.0562)),  # Newcombe 1998, table II, the sign turned
    ],
)
def test_newcombe_paired_matches_published_intervals(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    found = newcombe_paired(*counts)
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, abs=5e-4)


def test_newcombe_paired_of_equal_results_has_positive_width() -> None:
    """All of 10 succeed both times: Wilson's interval of each rate goes down to 0.722."""
    found = newcombe_paired(10, 0, 0, 0)
    assert (found.estimate, found.low, found.high) == pytest.approx((0, -0.2775, 0.2775), abs=1e-4)


def test_newcombe_paired_changes_sign_with_the_order() -> None:
    one, other = newcombe_paired(50, 30, 5, 15), newcombe_paired(50, 5, 30, 15)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, -1, 2, 0)])
def test_newcombe_paired_invalid_counts_raise(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="paired trials"):
        newcombe_paired(*counts)
