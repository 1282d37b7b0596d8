"""DDN: a short way to a near image of another answer under L2 (Rony et al. 2019, arXiv 1811.09600)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attack.norm_bounded import SMALLEST, wide
from cam_adv.bound.balls import length
from cam_adv.bound.nearest import Nearest


def ddn(network: nn.Module, x: Tensor, y: Tensor, steps: int, first_radius: float, gamma: float) -> Tensor:
    """Decouple direction and norm: step along the gradient, then onto a sphere that shrinks while the answer is gone.

    Args:
        network: images in [0, 1] to logits, in evaluation mode; its weights get no gradient from here.
        x: `(N, C, H, W)` in [0, 1].
        y: the answers that the network is to leave, `(N,)`.
        steps: gradient steps; their length falls from 1 to 0.01 along half a cosine.
        first_radius: of the sphere, over pixels in [0, 1].
        gamma: the share by which the radius shrinks or grows in a step.

    Returns:
        The nearest images met at which the network leaves y, `(N, C, H, W)` in [0, 1]; x where there were none.
    """
    nearest, images = Nearest(x, "l2"), x
    radius = torch.full((len(x),), first_radius, device=x.device)
    for step in range(steps + 1):  # the last only looks
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            logits = network(leaf)
            loss = functional.cross_entropy(logits, y, reduction="sum")
            gradient = torch.autograd.grad(loss, leaf)[0]
        gone = logits.argmax(dim=1) != y
        nearest.keep(images, gone)
        rate = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        radius = radius * torch.where(gone, 1 - gamma, 1 + gamma)
        offset = images - x + rate * gradient / wide(length(gradient, "l2").clamp(min=SMALLEST), x)
        images = (x + offset * wide(radius / length(offset, "l2").clamp(min=SMALLEST), x)).clamp(0, 1)
    return nearest.images
