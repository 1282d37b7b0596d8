"""Binary search for the smallest radius at which an attack succeeds."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.attacks.best_adversarial import BestAdversarial, misclassified
from cam_adv.models.lp_balls import Norm

ImageCallback = Callable[[int, Tensor], None]
"""Called by an attack after each step, with its number and the current images `(N, C, H, W)`."""

RadiusAttack = Callable[[Tensor, ImageCallback], object]
"""An attack within each image's radius `(N,)`."""

TOLERANCE = 1e-5
"""Relative rounding error of the radius that an image on the boundary of the ball may be measured to exceed it by."""


def bisect_radius(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    norm: Norm,
    attack: RadiusAttack,
    max_radius: Tensor,
    bisection_steps: int,
) -> Tensor:
    """Bisect, for each image, the range that contains the smallest radius at which the attack succeeds.

    All images on the attack's path are considered. One that is nearer to x than the radius reduces the range further.

    Args:
        network: images in [0, 1] to logits, in eval mode.
        x: `(N, C, H, W)` in [0, 1].
        y: labels that the network is to leave, `(N,)`.
        max_radius: the upper end of the first range, such as the distance of a known adversarial image, `(N,)`.
        bisection_steps: of the range from 0 to `max_radius`.

    Returns:
        The nearest images met that the network does not classify as y, `(N, C, H, W)` in [0, 1]; x where there are
        none.
    """
    best = BestAdversarial(x, norm)

    def update(_: int, images: Tensor) -> None:
        best.keep(images, misclassified(network, images, y))

    low, high = torch.zeros_like(max_radius), max_radius
    for _ in range(bisection_steps):
        radius = (low + high) / 2
        attack(radius, update)
        success = best.distance <= radius * (1 + TOLERANCE)
        low, high = torch.where(success, low, radius), torch.where(success, best.distance, high)
    return best.images
