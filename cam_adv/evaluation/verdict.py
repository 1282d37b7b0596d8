"""Was the victim cheated? The judgement of x' by the victim and by a judge that took no part in the attack."""

from dataclasses import dataclass

import torch
from torch import Tensor

JUDGE_CONFIDENT = 0.9
"""The judge's confidence, in y' under Type I and in y under Type II, from which a success counts as confident."""


@dataclass(frozen=True)
class Verdict:
    """One boolean `(N,)` for each question asked about x'.

    kept: who was to stay did. Type I: the victim says y with at least the required confidence. Type II: the judge
    says y.
    changed: who was to change did. Type I: the judge says y'. Type II: the victim says another class than y.
    success: both.
    success_confident: a success of which the judge is sure, with at least 0.9.
    """

    kept: Tensor
    changed: Tensor
    success: Tensor
    success_confident: Tensor


def type1_verdict(victim_probs: Tensor, judge_probs: Tensor, y: Tensor, target: Tensor, confidence: float) -> Verdict:
    """Judge Type I examples: the victim must keep y while the judge sees y'.

    Args:
        victim_probs: of x', `(N, K)`, rows sum to 1.
        judge_probs: of x', `(N, K)`, rows sum to 1.
        y: labels of x, `(N,)`.
        target: y', `(N,)`.
        confidence: what the victim's probability of y must reach, in [0, 1].
    """
    kept = (victim_probs.argmax(dim=1) == y) & (_of(victim_probs, y) >= confidence)
    changed = judge_probs.argmax(dim=1) == target
    success = kept & changed
    return Verdict(kept, changed, success, success & (_of(judge_probs, target) >= JUDGE_CONFIDENT))


def type2_verdict(victim_probs: Tensor, judge_probs: Tensor, y: Tensor) -> Verdict:
    """Judge Type II examples: the victim must leave y, for whatever class, while the judge still sees y.

    Args:
        victim_probs: of x', `(N, K)`, rows sum to 1.
        judge_probs: of x', `(N, K)`, rows sum to 1.
        y: labels of x, `(N,)`.
    """
    kept = judge_probs.argmax(dim=1) == y
    changed = victim_probs.argmax(dim=1) != y
    success = kept & changed
    return Verdict(kept, changed, success, success & (_of(judge_probs, y) >= JUDGE_CONFIDENT))


def _of(probs: Tensor, label: Tensor) -> Tensor:
    return torch.gather(probs, 1, label.unsqueeze(1)).squeeze(1)
