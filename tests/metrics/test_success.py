"""Verdicts of success on hand-made probabilities."""

import torch

from cam_adv.metrics.success import type1_verdict, type2_verdict


def test_type1_verdict_by_hand() -> None:
    """y = 0 and y' = 1 throughout; one row for each way to win or to fail."""
    victim = torch.tensor([[0.95, 0.05, 0], [0.90, 0.1, 0], [0.89, 0.11, 0], [0.05, 0.95, 0], [0.99, 0.01, 0]])
    judge = torch.tensor([[0.05, 0.95, 0], [0.3, 0.7, 0], [0, 1.0, 0], [0, 1.0, 0], [0.2, 0.2, 0.6]])
    y, target = torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    verdict = type1_verdict(victim, judge, y, target, confidence=0.9)
    assert verdict.victim_criterion.tolist() == [True, True, False, False, True]
    assert verdict.judge_criterion.tolist() == [True, True, True, True, False]
    assert verdict.success.tolist() == [True, True, False, False, False]
    assert verdict.success_confident.tolist() == [True, False, False, False, False]


def test_type1_verdict_low_confidence_still_requires_victim_label() -> None:
    verdict = type1_verdict(
        torch.tensor([[0.4, 0.6]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.tensor([1]), confidence=0.3
    )
    assert not verdict.victim_criterion.item()


def test_type2_verdict_by_hand() -> None:
    """y = 0 throughout: two successes, one without a sure judge; a victim that stays; a judge that leaves; both."""
    victim = torch.tensor([[0.1, 0.9, 0], [0.4, 0.1, 0.5], [0.6, 0.4, 0], [0.1, 0.9, 0], [0.6, 0.4, 0]])
    judge = torch.tensor([[0.95, 0.05, 0], [0.5, 0.3, 0.2], [1.0, 0, 0], [0.4, 0.6, 0], [0.3, 0.7, 0]])
    verdict = type2_verdict(victim, judge, torch.zeros(5, dtype=torch.long))
    assert verdict.judge_criterion.tolist() == [True, True, True, False, False]
    assert verdict.victim_criterion.tolist() == [True, True, False, True, False]
    assert verdict.success.tolist() == [True, True, False, False, False]
    assert verdict.success_confident.tolist() == [True, False, False, False, False]
