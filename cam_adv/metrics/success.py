"""Did an attack succeed? The verdict on x' by the victim and by a judge that took no part in the attack."""

from dataclasses import dataclass

import torch
from torch import Tensor

JUDGE_CONFIDENT = 0.9
"""The judge's confidence, in y' under Type I and in y under Type II, from which a success counts as confident."""


@dataclass(frozen=True)
class AttackVerdict:
    """One boolean `(N,)` for each criterion that x' is held against.

    victim_criterion: Type I: the victim says y with at least the required confidence. Type II: the victim says
        another class than y.
    judge_criterion: Type I: the judge says y'. Type II: the judge says y.
    success: both.
    success_confident: a success of which the judge is sure, with at least 0.9.
    """

    victim_criterion: Tensor
    judge_criterion: Tensor
    success: Tensor
    success_confident: Tensor


def type1_verdict(
    victim_probs: Tensor, judge_probs: Tensor, y: Tensor, target: Tensor, confidence: float
) -> AttackVerdict:
    """Judge Type I examples: the victim must keep y while the judge sees y'.

    Args:
        victim_probs: of x', `(N, K)`, rows sum to 1.
        judge_probs: of x', `(N, K)`, rows sum to 1.
        y: labels of x, `(N,)`.
        target: y', `(N,)`.
        confidence: what the victim's probability of y must reach, in [0, 1].
    """
    victim = (victim_probs.argmax(dim=1) == y) & (_of(victim_probs, y) >= confidence)
    return _verdict(victim, judge_probs, target)


def type2_verdict(victim_probs: Tensor, judge_probs: Tensor, y: Tensor) -> AttackVerdict:
    """Judge Type II examples: the victim must leave y, for whatever class, while the judge still sees y.

    Args:
        victim_probs: of x', `(N, K)`, rows sum to 1.
        judge_probs: of x', `(N, K)`, rows sum to 1.
        y: labels of x, `(N,)`.
    """
    return _verdict(victim_probs.argmax(dim=1) != y, judge_probs, y)


def _verdict(victim: Tensor, judge_probs: Tensor, perceived_label: Tensor) -> AttackVerdict:
    judge = judge_probs.argmax(dim=1) == perceived_label
    success = victim & judge
    return AttackVerdict(victim, judge, success, success & (_of(judge_probs, perceived_label) >= JUDGE_CONFIDENT))


def _of(probs: Tensor, label: Tensor) -> Tensor:
    return torch.gather(probs, 1, label.unsqueeze(1)).squeeze(1)
