"""A constraint that also attacks the robust interpretation: it must not abstain, and its map must stay as on x.

An adaptive attack in the sense of Tramèr et al. 2020 (arXiv 2002.08347): gradients go through the encoder, the
redrawn images and every explaining victim, to the very answer that the interpretation compares with its threshold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.cam_constraint import map_change
from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.attributions.robust import RobustInterpretation

SMALLEST = 1e-6
"""Smallest distance of a probability from 0 and 1, so that its log-odds are finite."""


@dataclass(frozen=True)
class InterpretationConstraint:
    """What the interpretation said of each x, which the attack must keep.

    interpretation: as the attacker knows it.
    confidence: the victim's probability of y that the attack requires.
    target: y', `(N,)`. maps: its averaged maps of each x, `(N, h, w)`.
    """

    interpretation: RobustInterpretation
    confidence: float
    target: Tensor
    maps: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, interpretation: RobustInterpretation, confidence: float, x: Tensor, y: Tensor, target: Tensor
    ) -> "InterpretationConstraint":
        """For images `(N, C, H, W)` in [0, 1], their labels and targets `(N,)`."""
        return cls(interpretation, confidence, target, interpretation.log_probs_and_maps(x, y, target)[1])

    def rows(self, chosen: Tensor) -> "InterpretationConstraint":
        """The constraint of some of the samples, by their indices `(n,)`."""
        return InterpretationConstraint(self.interpretation, self.confidence, self.target[chosen], self.maps[chosen])

    def logits_and_change(self, victim: nn.Module, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The victim's logits `(N, K)`, that of y lowered where the answer is the tighter constraint, and the change
        of the averaged maps since x, `(N,)`.

        Lowered so far that the log-odds of y are those of `confidence` plus what the answer's exceed its threshold's.
        The answer is taken as the geometric mean of its probabilities: it is not above their arithmetic mean, which
        the threshold is for, and it has a gradient to every victim that doubts y.
        """
        log_probs, maps = self.interpretation.log_probs_and_maps(images, y, self.target)
        answer = log_probs.mean(dim=0).exp().clamp(SMALLEST, 1 - SMALLEST)
        threshold = self.interpretation.threshold.clamp(SMALLEST, 1 - SMALLEST)
        required = torch.full_like(answer, self.confidence).logit()
        log_odds = answer.logit() - threshold.logit() + required
        logits = victim(images)
        excess = (log_odds_of(logits.to(answer.dtype), y) - log_odds).clamp(min=0).to(logits.dtype)
        return logits.scatter_add(1, y.unsqueeze(1), -excess.unsqueeze(1)), map_change(maps, self.maps)
