"""Did an attack succeed? The verdict on x' by the victim and by a judge that took no part in the attack."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.data.human_labels import NOTHING


@dataclass(frozen=True)
class AttackVerdict:
    """What was found of each x', one boolean `(N,)` for each question; all are asked of every attacked image.

    victim_keeps: the victim says y; under a Type I attack with at least the required confidence.
    plausible: the judge reads a class in x', whichever it is.
    judge_reads_target: the judge reads y' in x'.
    judge_reads_source: the judge reads y in x'.
    judge_reads_nothing: the judge reads nothing in x'.
    success: Type I: the victim keeps y, and the judge reads y'. Type II: the victim says another class than y, and
        the judge reads y.
    """

    victim_keeps: Tensor
    plausible: Tensor
    judge_reads_target: Tensor
    judge_reads_source: Tensor
    judge_reads_nothing: Tensor
    success: Tensor


def type1_verdict(
    victim_probs: Tensor, judge_reads: Tensor, y: Tensor, target: Tensor, confidence: float
) -> AttackVerdict:
    """Judge Type I examples: the victim must keep y while the judge reads y'.

    Args:
        victim_probs: of x', `(N, K)`, rows sum to 1.
        judge_reads: the class that the judge reads in x', or `NOTHING`, `(N,)`.
        y: labels of x, `(N,)`.
        target: y', `(N,)`.
        confidence: what the victim's probability of y must reach, in [0, 1].
    """
    own = torch.gather(victim_probs, 1, y.unsqueeze(1)).squeeze(1)
    keeps = (victim_probs.argmax(dim=1) == y) & (own >= confidence)
    return _verdict(keeps, judge_reads, y, target, keeps & (judge_reads == target))


def type2_verdict(victim_probs: Tensor, judge_reads: Tensor, y: Tensor, target: Tensor) -> AttackVerdict:
    """Judge Type II examples: the victim must leave y, for whatever class, while the judge still reads y.

    Args:
        victim_probs: of x', `(N, K)`, rows sum to 1.
        judge_reads: the class that the judge reads in x', or `NOTHING`, `(N,)`.
        y: labels of x, `(N,)`.
        target: y', `(N,)`.
    """
    keeps = victim_probs.argmax(dim=1) == y
    return _verdict(keeps, judge_reads, y, target, ~keeps & (judge_reads == y))


def _verdict(keeps: Tensor, judge_reads: Tensor, y: Tensor, target: Tensor, success: Tensor) -> AttackVerdict:
    return AttackVerdict(
        victim_keeps=keeps,
        plausible=judge_reads != NOTHING,
        judge_reads_target=judge_reads == target,
        judge_reads_source=judge_reads == y,
        judge_reads_nothing=judge_reads == NOTHING,
        success=success,
    )
