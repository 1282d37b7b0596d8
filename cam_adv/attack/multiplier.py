"""How the weight k of the victim's term follows each sample's own losses.

The attack minimises J_2 + … subject to J_1 = CE(f1(G(z)), y) being small; k weighs J_1 (eq. 9 of the paper).
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Multiplier(Protocol):
    """k of each sample, all `(N,)` and non-negative, from `start` on."""

    start: float

    def __call__(self, k: Tensor, j1: Tensor, j2: Tensor) -> Tensor:
        """The next k from this step's k, J_1 and J_2."""
        ...


@dataclass(frozen=True)
class Published:
    """The published rule: k ← clip(k + rate·(balance·J_1 − J_2 + max(J_1 − tolerance, 0)), 0, cap).

    Tang et al. 2019, as in the authors' released MNIST code.
    """

    start: float
    rate: float
    balance: float
    tolerance: float
    cap: float

    def __call__(self, k: Tensor, j1: Tensor, j2: Tensor) -> Tensor:
        hinge = (j1 - self.tolerance).clamp(min=0)
        return (k + self.rate * (self.balance * j1 - j2 + hinge)).clamp(0, self.cap)


@dataclass(frozen=True)
class DualAscent:
    """Ascent on the Lagrange multiplier of the constraint J_1 ≤ tolerance.

    k ← clip(k + rate·(J_1 − tolerance), 0, cap). With start and cap 0 the victim has no say: a transition.
    """

    start: float
    rate: float
    tolerance: float
    cap: float

    def __call__(self, k: Tensor, j1: Tensor, j2: Tensor) -> Tensor:
        return (k + self.rate * (j1 - self.tolerance)).clamp(0, self.cap)
