"""The verdict on hand-made probabilities, and the interval of a rate."""

import pytest
import torch
from scipy.stats import binomtest

from cam_adv.evaluation.intervals import wilson
from cam_adv.evaluation.verdict import type1_verdict, type2_verdict


def test_verdict_by_hand() -> None:
    """y = 0 and y' = 1 throughout; one row for each way to win or to fail."""
    victim = torch.tensor([[0.95, 0.05, 0], [0.90, 0.1, 0], [0.89, 0.11, 0], [0.05, 0.95, 0], [0.99, 0.01, 0]])
    judge = torch.tensor([[0.05, 0.95, 0], [0.3, 0.7, 0], [0, 1.0, 0], [0, 1.0, 0], [0.2, 0.2, 0.6]])
    y, target = torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    verdict = type1_verdict(victim, judge, y, target, confidence=0.9)
    assert verdict.kept.tolist() == [True, True, False, False, True]
    assert verdict.changed.tolist() == [True, True, True, True, False]
    assert verdict.success.tolist() == [True, True, False, False, False]
    assert verdict.success_confident.tolist() == [True, False, False, False, False]


def test_a_low_required_confidence_still_asks_for_the_label() -> None:
    verdict = type1_verdict(
        torch.tensor([[0.4, 0.6]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.tensor([1]), confidence=0.3
    )
    assert not verdict.kept.item()


def test_type2_verdict_by_hand() -> None:
    """y = 0 throughout: two successes, one without a sure judge; a victim that stays; a judge that leaves; both."""
    victim = torch.tensor([[0.1, 0.9, 0], [0.4, 0.1, 0.5], [0.6, 0.4, 0], [0.1, 0.9, 0], [0.6, 0.4, 0]])
    judge = torch.tensor([[0.95, 0.05, 0], [0.5, 0.3, 0.2], [1.0, 0, 0], [0.4, 0.6, 0], [0.3, 0.7, 0]])
    verdict = type2_verdict(victim, judge, torch.zeros(5, dtype=torch.long))
    assert verdict.kept.tolist() == [True, True, True, False, False]
    assert verdict.changed.tolist() == [True, True, False, True, False]
    assert verdict.success.tolist() == [True, True, False, False, False]
    assert verdict.success_confident.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (1, 3), (150, 200), (999, 1000)])
def test_wilson_against_scipy(successes: int, trials: int) -> None:
    ours = wilson(successes, trials)
    oracle = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert (ours.rate, ours.low, ours.high) == pytest.approx((successes / trials, oracle.low, oracle.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_rates_of_nothing_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no rate"):
        wilson(successes, trials)
