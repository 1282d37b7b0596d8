"""The smallest ball in which an attack finds an image of another answer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.bound.nearest import Nearest, leaves
from cam_adv.settings import Norm

Look = Callable[[int, Tensor], None]
"""What an attack tells after each step: its number, and the images `(N, C, H, W)` that it has then."""

InBall = Callable[[Tensor, Look], object]
"""An attack inside the ball of each image's radius `(N,)`."""


ROUNDING = 1e-5
"""An image on the border may be measured to lie this share of the radius beyond it."""


def bisect(
    network: nn.Module, x: Tensor, y: Tensor, norm: Norm, attack: InBall, farthest: Tensor, halvings: int
) -> Tensor:
    """Halve, for each image, the range in which the smallest radius lies at which the attack succeeds.

    Every image on the attack's way counts, and one that is nearer than its radius shortens the range at once.

    Args:
        network: images in [0, 1] to logits, in evaluation mode.
        x: `(N, C, H, W)` in [0, 1].
        y: the answers that the network is to leave, `(N,)`.
        farthest: the largest radius that is of interest, such as the distance of an image that is known, `(N,)`.
        halvings: of the range from 0 to `farthest`.

    Returns:
        The nearest images met at which the network leaves y, `(N, C, H, W)` in [0, 1]; x where there were none.
    """
    nearest = Nearest(x, norm)

    def look(_: int, images: Tensor) -> None:
        nearest.keep(images, leaves(network, images, y))

    low, high = torch.zeros_like(farthest), farthest
    for _ in range(halvings):
        radius = (low + high) / 2
        attack(radius, look)
        found = nearest.distance <= radius * (1 + ROUNDING)
        low, high = torch.where(found, low, radius), torch.where(found, nearest.distance, high)
    return nearest.images
