"""The base class of untargeted Type II attacks on pixels, which need no generator."""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.base import Attack, AttackModels, StepCallback
from cam_adv.attacks.result import AttackResult


class PixelAttack(Attack):
    """Changes the pixels of images of class y so that the victim predicts any other class.

    A subclass implements `perturb`.
    """

    targeted: ClassVar[bool] = False

    kind: Literal["type2"] = "type2"

    @abstractmethod
    def perturb(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int, on_step: StepCallback) -> list[Tensor]:
        """Attack images.

        Args:
            victim: images in [0, 1] to logits, in evaluation mode; its weights need no gradients.
            x: `(N, C, H, W)` in [0, 1].
            y: labels that the victim must no longer predict, `(N,)`.
            seed: of all random draws.

        Returns:
            The images `(N, C, H, W)` in [0, 1] at the recorded steps, from the start of the attack to x'.
        """

    def run(
        self,
        models: AttackModels,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        *,
        seed: int,
        prepared: nn.Module | None,
        on_step: StepCallback,
    ) -> AttackResult:
        """See `Attack.run`. `target` is not used: the result's target is the victim's prediction for x'."""
        trace = self.perturb(models.victim, x, y, seed, on_step)
        with torch.no_grad():
            logits = [models.victim(images).to(x.dtype) for images in trace]
        losses = [functional.cross_entropy(answer, y, reduction="none") for answer in logits]
        return AttackResult(
            x=x,
            x_adv=trace[-1],
            y=y,
            target=logits[-1].argmax(dim=1),
            start=torch.zeros_like(y),
            steps=torch.full_like(y, self.steps_per_init),
            diverged=~torch.stack([answer.isfinite().all(dim=1) for answer in logits]).all(dim=0),
            terms={"J1 victim": torch.stack(losses, dim=1)},
        )
