"""The schedules of the multiplier k, and log-odds: by hand and against the softmax."""

import math

import pytest
import torch

from cam_adv.attacks.latent.penalty import DualAscent, TangSchedule, log_odds_of, logit


def test_tang_schedule_by_hand() -> None:
    """k + 1e-4·(1e-3·J1 − J2 + max(J1 − 0.01, 0)), clipped to [0, 1e-3]."""
    schedule = TangSchedule(start=0, rate=1e-4, balance=1e-3, tolerance=0.01, cap=1e-3)
    k = torch.tensor([0.0, 5e-4, 5e-4, 9.9e-4], dtype=torch.float64)
    j1 = torch.tensor([0.005, 2.0, 0.01, 5.0], dtype=torch.float64)
    j2 = torch.tensor([3.0, 0.5, 1.0, 0.0], dtype=torch.float64)
    expected = [0.0, 5e-4 + 1e-4 * (0.002 - 0.5 + 1.99), 5e-4 + 1e-4 * (1e-5 - 1.0), 1e-3]
    log_odds = -j1.expm1().log()  # the log-odds whose J_1 this is
    assert schedule.loss(log_odds).tolist() == pytest.approx(j1.tolist(), abs=1e-12)
    assert schedule.update(k, log_odds, j2).tolist() == pytest.approx(expected, abs=1e-15)
    assert torch.equal(schedule.weight(k, log_odds), k)


def test_dual_ascent_by_hand() -> None:
    """A confidence of one half is log-odds 0; with a target margin of 1 the shortfalls are 1, −3 and 2."""
    schedule = DualAscent(start=2, rate=0.1, proportional_gain=0.5, confidence=0.5, target_margin=1, cap=3)
    log_odds = torch.tensor([0.0, 4.0, -1.0])
    assert schedule.loss(log_odds).tolist() == pytest.approx([1, -3, 2])
    k = schedule.update(torch.tensor([2.0, 0.1, 2.95]), log_odds, torch.zeros(3))
    assert k.tolist() == pytest.approx([2.1, 0.0, 3.0])
    weight = schedule.weight(torch.tensor([2.0, 1.0, 2.95]), log_odds)
    assert weight.tolist() == pytest.approx([2.5, 0.0, 3.0])


def test_log_odds_of_is_the_logit_of_the_softmax() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    label = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = logits.softmax(dim=1)[torch.arange(6), label].logit()
    assert torch.allclose(log_odds_of(logits, label), expected, atol=1e-10)


def test_logit_by_hand() -> None:
    assert logit(0.5) == 0
    assert logit(0.9) == pytest.approx(math.log(9))
