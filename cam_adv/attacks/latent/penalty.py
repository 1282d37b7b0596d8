"""The penalty for the victim's criterion: the multiplier k of each sample, and the loss that it multiplies.

The attack minimises J_2 + … under the constraint that the victim predicts y. With the victim's log-odds of y,
o = log p_y − log(1 − p_y), J_1 = CE(f1(G(z)), y) = softplus(−o).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class PenaltySchedule(Protocol):
    """A schedule of k; all tensors are `(N,)`, one value for each sample."""

    @property
    def start(self) -> float:
        """The first k."""
        ...

    def loss(self, log_odds: Tensor) -> Tensor:
        """The loss that is multiplied in the objective."""
        ...

    def weight(self, k: Tensor, log_odds: Tensor) -> Tensor:
        """The factor of the loss at this step."""
        ...

    def update(self, k: Tensor, log_odds: Tensor, j2: Tensor) -> Tensor:
        """The next k from this step's k, log-odds of y and J_2."""
        ...


@dataclass(frozen=True)
class TangSchedule:
    """The published rule: k ← clip(k + rate·(balance·J_1 − J_2 + max(J_1 − tolerance, 0)), 0, cap), on k·J_1.

    Tang et al. 2019, as in the authors' released MNIST code.
    """

    start: float
    rate: float
    balance: float
    tolerance: float
    cap: float

    def loss(self, log_odds: Tensor) -> Tensor:
        return functional.softplus(-log_odds)

    def weight(self, k: Tensor, log_odds: Tensor) -> Tensor:
        return k

    def update(self, k: Tensor, log_odds: Tensor, j2: Tensor) -> Tensor:
        j1 = self.loss(log_odds)
        hinge = (j1 - self.tolerance).clamp(min=0)
        return (k + self.rate * (self.balance * j1 - j2 + hinge)).clamp(0, self.cap)


@dataclass(frozen=True)
class DualAscent:
    """Ascent on the Lagrange multiplier of the constraint "the victim's log-odds of y reach those of `confidence`".

    The loss is the shortfall s = logit(confidence) + target_margin − o, which is linear in the logits, so that its
    gradient doesn't vanish where the victim is confident; k ← clip(k + rate·s, 0, cap). Its factor is
    clip(k + proportional_gain·s, 0, cap): the proportional part damps the oscillation of k (Stooke et al. 2020, arXiv
    2007.03964, section 4: proportional control). With start = cap = 0 the victim is ignored: a transition.
    """

    start: float
    rate: float
    proportional_gain: float
    confidence: float
    target_margin: float
    cap: float

    def loss(self, log_odds: Tensor) -> Tensor:
        return logit(self.confidence) + self.target_margin - log_odds

    def weight(self, k: Tensor, log_odds: Tensor) -> Tensor:
        return (k + self.proportional_gain * self.loss(log_odds)).clamp(0, self.cap)

    def update(self, k: Tensor, log_odds: Tensor, j2: Tensor) -> Tensor:
        return (k + self.rate * self.loss(log_odds)).clamp(0, self.cap)


def logit(probability: float) -> float:
    """log p − log(1 − p)."""
    return math.log(probability / (1 - probability))


def log_odds_of(logits: Tensor, label: Tensor) -> Tensor:
    """log p_y − log(1 − p_y) under the softmax of logits `(N, K)`, for labels `(N,)`: `(N,)`."""
    own = torch.gather(logits, 1, label.unsqueeze(1)).squeeze(1)
    others = torch.scatter(logits, 1, label.unsqueeze(1), -torch.inf).logsumexp(dim=1)
    return own - others
