"""How much the victim's say weighs: the multiplier k of each sample, and the loss that it multiplies.

The attack minimises J_2 + … while the victim keeps y. What the victim says is taken as its log-odds of y,
o = log p_y − log(1 − p_y); in terms of it J_1 = CE(f1(G(z)), y) = softplus(−o).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Multiplier(Protocol):
    """A rule for k; everything is `(N,)`, one value for each sample."""

    start: float
    """The first k."""

    def loss(self, log_odds: Tensor) -> Tensor:
        """What k multiplies in the objective."""
        ...

    def weight(self, k: Tensor, log_odds: Tensor) -> Tensor:
        """What the loss is multiplied by at this step."""
        ...

    def update(self, k: Tensor, log_odds: Tensor, j2: Tensor) -> Tensor:
        """The next k from this step's k, log-odds of y and J_2."""
        ...


@dataclass(frozen=True)
class Published:
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

    The loss is the shortfall s = logit(confidence) + surplus − o, linear in the logits so that its gradient
    doesn't fade where the victim is sure already; k ← clip(k + rate·s, 0, cap). It is multiplied by
    clip(k + gain·s, 0, cap): the part that answers at once keeps k from swinging to and fro (Stooke et al. 2020,
    arXiv 2007.03964, section 4: proportional control). With start and cap 0 the victim has no say: a transition.
    """

    start: float
    rate: float
    gain: float
    confidence: float
    surplus: float
    cap: float

    def loss(self, log_odds: Tensor) -> Tensor:
        return logit(self.confidence) + self.surplus - log_odds

    def weight(self, k: Tensor, log_odds: Tensor) -> Tensor:
        return (k + self.gain * self.loss(log_odds)).clamp(0, self.cap)

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
