"""Verdicts of success on hand-made readings."""

import torch

from cam_adv.data.human_labels import NOTHING
from cam_adv.metrics.success import type1_verdict, type2_verdict


def answers(verdict: object) -> dict[str, list[int]]:
    """Each question's answers as 0 and 1."""
    return {name: met.int().tolist() for name, met in vars(verdict).items()}


def test_type1_verdict_by_hand() -> None:
    """y = 0 and y' = 1 throughout; a success, and one row for each way to fail.

    The victim is unsure; it says y'; the judge reads y, another class, nothing; the victim is unsure of y itself.
    """
    victim = torch.tensor(
        [[0.90, 0.1, 0], [0.89, 0.11, 0], [0.05, 0.95, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0.4, 0.6, 0]]
    )
    reads = torch.tensor([1, 1, 1, 0, 2, NOTHING, 0])
    y, target = torch.zeros(7, dtype=torch.long), torch.ones(7, dtype=torch.long)
    assert answers(type1_verdict(victim, reads, y, target, confidence=0.9)) == {
        "victim_keeps": [1, 0, 0, 1, 1, 1, 0],
        "plausible": [1, 1, 1, 1, 1, 0, 1],
        "judge_reads_target": [1, 1, 1, 0, 0, 0, 0],
        "judge_reads_source": [0, 0, 0, 1, 0, 0, 1],
        "judge_reads_nothing": [0, 0, 0, 0, 0, 1, 0],
        "success": [1, 0, 0, 0, 0, 0, 0],
    }


def test_type1_verdict_low_confidence_still_requires_victim_label() -> None:
    verdict = type1_verdict(
        torch.tensor([[0.4, 0.6]]), torch.tensor([1]), torch.tensor([0]), torch.tensor([1]), confidence=0.3
    )
    assert not verdict.victim_keeps.item()
    assert not verdict.success.item()


def test_type2_verdict_by_hand() -> None:
    """y = 0 and y' = 1 throughout: two successes, with y' and with another class; then one row for each failure.

    The victim stays, however unsure; the judge reads y', nothing; the victim stays and the judge reads y'.
    """
    victim = torch.tensor([[0.1, 0.9, 0], [0.4, 0.1, 0.5], [0.4, 0.3, 0.3], [0, 1, 0], [0, 1, 0], [0.6, 0.4, 0]])
    reads = torch.tensor([0, 0, 0, 1, NOTHING, 1])
    y, target = torch.zeros(6, dtype=torch.long), torch.ones(6, dtype=torch.long)
    assert answers(type2_verdict(victim, reads, y, target)) == {
        "victim_keeps": [0, 0, 1, 0, 0, 1],
        "plausible": [1, 1, 1, 1, 0, 1],
        "judge_reads_target": [0, 0, 0, 1, 0, 1],
        "judge_reads_source": [1, 1, 1, 0, 0, 0],
        "judge_reads_nothing": [0, 0, 0, 0, 1, 0],
        "success": [1, 1, 0, 0, 0, 0],
    }


def test_what_the_judge_reads_are_exclusive_answers() -> None:
    """Over random readings: what is plausible is not nothing, and y, y' and nothing exclude each other."""
    generator = torch.Generator().manual_seed(0)
    victim = torch.rand(200, 5, generator=generator).softmax(dim=1)
    reads, y = (torch.randint(low, 5, (200,), generator=generator) for low in (NOTHING, 0))
    target = (y + torch.randint(1, 5, (200,), generator=generator)) % 5
    for verdict in (type1_verdict(victim, reads, y, target, 0.2), type2_verdict(victim, reads, y, target)):
        assert torch.equal(verdict.plausible, ~verdict.judge_reads_nothing)
        both = [verdict.judge_reads_target, verdict.judge_reads_source, verdict.judge_reads_nothing]
        assert torch.stack(both).sum(dim=0).max() == 1
        assert not (verdict.success & ~verdict.plausible).any()
        assert verdict.success.any()
    one, other = type1_verdict(victim, reads, y, target, 0.0), type2_verdict(victim, reads, y, target)
    assert torch.equal(one.victim_keeps, other.victim_keeps)
    assert not (one.success & other.success).any()
