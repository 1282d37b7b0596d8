"""The nearest image of another answer, kept while an attack goes on."""

import math

import torch
from torch import Tensor, nn

from cam_adv.attack.norm_bounded import wide
from cam_adv.bound.balls import length
from cam_adv.settings import Norm


class Nearest:
    """The nearest images met so far at which the network's answer is not y.

    images: `(N, C, H, W)`; x itself where there is none.
    distance: from x, under the norm, `(N,)`; inf where there is none.
    """

    def __init__(self, x: Tensor, norm: Norm) -> None:
        self.x, self.norm, self.images = x, norm, x
        self.distance = torch.full((len(x),), math.inf, device=x.device)

    def keep(self, images: Tensor, gone: Tensor) -> None:
        """Look at images `(N, C, H, W)`, those at which the answer is `gone`, `(N,)` bool."""
        distance = length(images - self.x, self.norm)
        nearer = gone & (distance < self.distance)
        self.images = torch.where(wide(nearer, images), images, self.images)
        self.distance = torch.where(nearer, distance, self.distance)


@torch.no_grad()
def leaves(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """Whether the network's answer is another than y, `(N,)`."""
    return network(images).argmax(dim=1) != y


def back_to_the_border(network: nn.Module, x: Tensor, images: Tensor, y: Tensor, halvings: int) -> Tensor:
    """Images nearer to x, on the straight line to it, at which the network still leaves y.

    Args:
        x, images: `(N, C, H, W)`; where the network says y of an image, it is handed back as it is.
        halvings: of the stretch in which the border is known to be.
    """
    inside, outside = torch.zeros(len(x), device=x.device), torch.ones(len(x), device=x.device)
    for _ in range(halvings):
        middle = (inside + outside) / 2
        gone = leaves(network, torch.lerp(x, images, wide(middle, x)), y)
        inside, outside = torch.where(gone, inside, middle), torch.where(gone, middle, outside)
    return torch.lerp(x, images, wide(outside, x))
