"""The nearest adversarial images found so far, and a binary search on the line back to x."""

import math

import torch
from torch import Tensor, nn

from cam_adv.models.lp_balls import Norm, lp_norm, per_image


class BestAdversarial:
    """The nearest images so far that the network does not classify as y.

    images: `(N, C, H, W)`; x where there is none.
    distance: from x, under the norm, `(N,)`; inf where there is none.
    """

    def __init__(self, x: Tensor, norm: Norm) -> None:
        self.x, self.norm, self.images = x, norm, x
        self.distance = torch.full((len(x),), math.inf, device=x.device)

    def keep(self, images: Tensor, adversarial: Tensor) -> None:
        """Keep those of the images `(N, C, H, W)` that are adversarial, `(N,)` bool, and nearer than the best."""
        distance = lp_norm(images - self.x, self.norm)
        nearer = adversarial & (distance < self.distance)
        self.images = torch.where(per_image(nearer, images), images, self.images)
        self.distance = torch.where(nearer, distance, self.distance)


@torch.no_grad()
def misclassified(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """Whether the network predicts another class than y, `(N,)` bool."""
    return network(images).argmax(dim=1) != y


def boundary_binary_search(network: nn.Module, x: Tensor, images: Tensor, y: Tensor, bisection_steps: int) -> Tensor:
    """Adversarial images nearer to x, on the straight line from x to each image.

    Args:
        x, images: `(N, C, H, W)`; an image that the network classifies as y is returned unchanged.
        y: labels that the network must no longer predict, `(N,)`.
        bisection_steps: number of halvings of the interval that contains the decision boundary.
    """
    inside, outside = torch.zeros(len(x), device=x.device), torch.ones(len(x), device=x.device)
    for _ in range(bisection_steps):
        middle = (inside + outside) / 2
        adversarial = misclassified(network, torch.lerp(x, images, per_image(middle, x)), y)
        inside, outside = torch.where(adversarial, inside, middle), torch.where(adversarial, middle, outside)
    return torch.lerp(x, images, per_image(outside, x))
