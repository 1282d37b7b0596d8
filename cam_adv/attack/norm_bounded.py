"""Untargeted attacks inside a norm's ball around x: plain tensors and functions, nothing of Lightning or files.

The network maps images in [0, 1] to logits; it stands in evaluation mode, and its weights get no gradient from here.
An epsilon is one number or one for each image, `(N,)`. A row's result depends on that row alone.
"""

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.settings import AttackNorm

SMALLEST = 1e-12
"""Shorter gradients and offsets are divided by this: a gradient that is zero moves nothing."""


def fgsm(network: nn.Module, x: Tensor, y: Tensor, epsilon: Tensor | float, norm: AttackNorm = "linf") -> Tensor:
    """One step to the border of the ball (Goodfellow et al. 2015; under L2 along the gradient itself): x_adv.

    Args:
        x: `(N, C, H, W)` in [0, 1].
        y: the labels that the network is to leave, `(N,)`.
        epsilon: the ball's radius, `(N,)` or a number.
    """
    return pgd(network, x, y, epsilon, norm, steps=1, step_size=epsilon, start=x)


def pgd(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: Tensor | float,
    norm: AttackNorm,
    steps: int,
    step_size: Tensor | float,
    start: Tensor,
    on_step: Callable[[int, Tensor], None] = lambda step, images: None,
) -> Tensor:
    """Projected gradient ascent on the network's cross-entropy of y (Madry et al. 2018): the last images, x_adv.

    Each step goes `step_size` in the direction of steepest ascent under the norm, back into the ball, and back into
    [0, 1], in this order.

    Args:
        x: the balls' centres, `(N, C, H, W)` in [0, 1].
        y: the labels that the network is to leave, `(N,)`.
        epsilon: the balls' radius, `(N,)` or a number, over pixels in [0, 1].
        step_size: length of a step in the same unit, `(N,)` or a number.
        start: the first images, such as x or `random_start`; brought into the ball and into [0, 1].
        on_step: told each step that was done and its images.

    Raises:
        ValueError: there is no such norm.
    """
    images = into_ball(start.detach(), x, epsilon, norm)
    for step in range(steps):
        images = images + wide(step_size, x) * _steepest(loss_gradient(network, images, y), norm)
        images = into_ball(images, x, epsilon, norm)
        on_step(step + 1, images)
    return images


def random_start(x: Tensor, epsilon: Tensor | float, norm: AttackNorm, generator: torch.Generator) -> Tensor:
    """Images uniform in the ball around x, then brought into [0, 1].

    One draw serves all of them, scaled by each image's epsilon, so that none depends on the batch it came in.

    Args:
        x: `(N, C, H, W)` in [0, 1].
        epsilon: the ball's radius, `(N,)` or a number.
        generator: on the CPU.

    Raises:
        ValueError: there is no such norm.
    """
    shape = x.shape[1:]
    if _known(norm) == "linf":
        draw = 2 * torch.rand(shape, generator=generator) - 1
    else:  # a Gaussian's direction is uniform, and the radius follows the volume
        draw = torch.randn(shape, generator=generator)
        draw = draw / draw.norm() * torch.rand((), generator=generator) ** (1 / draw.numel())
    return (x + wide(epsilon, x) * draw.to(x)).clamp(0, 1)


def into_ball(images: Tensor, x: Tensor, epsilon: Tensor | float, norm: AttackNorm) -> Tensor:
    """The nearest images in the ball of radius epsilon around x, their pixels then clipped to [0, 1].

    Args:
        images, x: `(N, C, H, W)`; x in [0, 1], so that clipping leads out of no ball.
        epsilon: `(N,)` or a number.

    Raises:
        ValueError: there is no such norm.
    """
    offset, radius = images - x, wide(epsilon, x)
    if _known(norm) == "linf":
        inside = torch.minimum(torch.maximum(offset, -radius), radius)
    else:
        inside = offset * (radius / _length(offset)).clamp(max=1)
    return (x + inside).clamp(0, 1)


def loss_gradient(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """Of each image's cross-entropy of its y; with respect to the images alone, so that no weight gets one."""
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        loss = functional.cross_entropy(network(leaf), y, reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]


def _steepest(gradient: Tensor, norm: AttackNorm) -> Tensor:
    """The direction of length 1 under the norm in which the loss grows fastest; pixels that have none stay."""
    gradient = gradient.nan_to_num(nan=0, posinf=0, neginf=0)
    return gradient.sign() if norm == "linf" else gradient / _length(gradient)


def _length(offset: Tensor) -> Tensor:
    return wide(offset.flatten(1).norm(dim=1).clamp(min=SMALLEST), offset)


def wide(value: Tensor | float, x: Tensor) -> Tensor:
    """One value for each image, or one for all, in the shape that multiplies images."""
    value = value if isinstance(value, Tensor) else torch.tensor(value, dtype=x.dtype)
    return value.to(x.device).reshape(-1, *[1] * (x.dim() - 1))


def _known(norm: str) -> str:
    if norm not in get_args(AttackNorm):
        raise ValueError(f"{norm} is no norm of these attacks: {', '.join(get_args(AttackNorm))}")
    return norm
