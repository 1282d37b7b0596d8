"""The base class of minimal-norm attacks, which search for the nearest adversarial image."""

from abc import abstractmethod
from typing import Literal

from torch import Tensor, nn

from cam_adv.attacks.base import StepCallback
from cam_adv.attacks.pixel import PixelAttack
from cam_adv.models.lp_balls import into_ball
from cam_adv.schema.fields import Count


class MinimalNormAttack(PixelAttack):
    """Searches for the nearest image, under a norm, that the victim does not classify as y.

    strength: the largest norm of x' − x. Images that are further away are projected into that ball, where the victim
        may predict y again; None: no limit.
    """

    norm: Literal["linf", "l2"]
    steps: Count

    @property
    def steps_per_init(self) -> int:
        """See `Attack.steps_per_init`."""
        return self.steps

    @abstractmethod
    def search(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """The nearest adversarial images found, `(N, C, H, W)` in [0, 1]; x where none was found.

        Args as `PixelAttack.perturb`.
        """

    def perturb(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int, on_step: StepCallback) -> list[Tensor]:
        """See `PixelAttack.perturb`; only x and x' are recorded."""
        found = self.search(victim, x, y, seed)
        on_step(self.steps_per_init, len(x))
        return [x, found if self.strength is None else into_ball(found, x, self.strength, self.norm)]
