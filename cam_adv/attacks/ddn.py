"""DDN, decoupled direction and norm: a minimal-norm attack under L2 (Rony et al. 2019, arXiv 1811.09600)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.best_adversarial import BestAdversarial
from cam_adv.attacks.minimal_norm import MinimalNormAttack
from cam_adv.models.lp_balls import SMALLEST, lp_norm, per_image
from cam_adv.models.modes import gradients_enabled, without_history
from cam_adv.schema.fields import Positive, Share


class DDN(MinimalNormAttack):
    """Decoupled direction and norm; see `ddn`.

    first_radius: initial ‖x' − x‖₂, for pixels in [0, 1].
    gamma: share by which the norm shrinks after an adversarial image, and grows after another.
    """

    norm: Literal["l2"]
    first_radius: Positive
    gamma: Share

    def search(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """See `MinimalNormAttack.search`."""
        return ddn(victim, x, y, self.steps, self.first_radius, self.gamma)


def ddn(network: nn.Module, x: Tensor, y: Tensor, steps: int, first_radius: float, gamma: float) -> Tensor:
    """Step along the normalised gradient, then rescale the perturbation to a norm of its own.

    The norm shrinks where the network no longer predicts y, and grows elsewhere.

    Args:
        network: images in [0, 1] to logits, in evaluation mode; its weights get no gradients here.
        x: `(N, C, H, W)` in [0, 1].
        y: labels that the network must no longer predict, `(N,)`.
        steps: gradient steps; their size falls from 1 to 0.01 along half a cosine.
        first_radius: initial norm of the perturbation, for pixels in [0, 1].
        gamma: share by which the norm shrinks or grows in a step.

    Returns:
        The nearest adversarial images found, `(N, C, H, W)` in [0, 1]; x where there were none.
    """
    x = x.detach()
    nearest, images = BestAdversarial(x, "l2"), x
    radius = torch.full((len(x),), first_radius, device=x.device)
    for step in range(steps + 1):  # the last only evaluates the images of the last step
        with gradients_enabled():
            leaf = without_history(images).requires_grad_()
            logits = network(leaf)
            loss = functional.cross_entropy(logits, without_history(y), reduction="sum")
            gradient = torch.autograd.grad(loss, leaf)[0]
        adversarial = logits.argmax(dim=1) != y
        nearest.keep(images, adversarial)
        rate = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        radius = radius * torch.where(adversarial, 1 - gamma, 1 + gamma)
        offset = images - x + rate * gradient / per_image(lp_norm(gradient, "l2").clamp(min=SMALLEST), x)
        images = (x + offset * per_image(radius / lp_norm(offset, "l2").clamp(min=SMALLEST), x)).clamp(0, 1)
    return nearest.images
