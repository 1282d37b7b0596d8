"""Projected gradient descent in a norm's ball around x: PGD under L1, L2 and L∞, and FGSM."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.base import StepCallback
from cam_adv.attacks.pixel import PixelAttack
from cam_adv.attacks.trace import evenly_spaced
from cam_adv.models.lp_balls import (
    Norm,
    into_ball,
    lp_norm,
    per_image,
    steepest_direction,
    steepest_sparse_step,
    uniform_in_ball,
    with_offset,
)
from cam_adv.models.modes import gradients_enabled, without_history
from cam_adv.schema.fields import Count, NotNegative, Positive, UnitShare

SPARSITY = 0.01
"""Default share of the pixels that a step under L1 changes."""


class PGD(PixelAttack):
    """Projected gradient ascent on the victim's cross-entropy of y (Madry et al. 2018, arXiv 1706.06083).

    One step of size 1 from x is FGSM (Goodfellow et al. 2015, arXiv 1412.6572).

    strength: ε, the largest norm of x' − x, for pixels in [0, 1].
    step_size: size of a step, as a share of the strength.
    random_start: start at a random image in the ball instead of x.
    sparsity: share of the pixels that a step under L1 changes (Tramèr and Boneh 2019, arXiv 1904.13000).
    """

    strength: NotNegative
    norm: Norm
    steps: Count
    step_size: Positive
    random_start: bool
    sparsity: UnitShare = SPARSITY

    @property
    def start_names(self) -> list[str]:
        """See `Attack.start_names`."""
        return ["random" if self.random_start else "x"]

    @property
    def steps_per_init(self) -> int:
        """See `Attack.steps_per_init`."""
        return self.steps

    def perturb(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int, on_step: StepCallback) -> list[Tensor]:
        """See `PixelAttack.perturb`."""
        start = x
        if self.random_start:
            start = random_start(x, self.strength, self.norm, torch.Generator().manual_seed(seed))
        trace, recorded = [start], evenly_spaced(self.steps, self.trace_points)

        def record(step: int, images: Tensor) -> None:
            if step in recorded:
                trace.append(images)
            on_step(step, len(images))

        size = self.step_size * self.strength
        pgd(victim, x, y, self.strength, self.norm, self.steps, size, start, record, self.sparsity)
        return trace


def pgd(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: Tensor | float,
    norm: Norm,
    steps: int,
    step_size: Tensor | float,
    start: Tensor,
    on_step: Callable[[int, Tensor], None] = lambda step, images: None,
    sparsity: float = SPARSITY,
) -> Tensor:
    """Projected gradient ascent on the network's cross-entropy of y.

    A step of size `step_size` in the direction of steepest ascent under the norm is followed by the projection into
    the ball and into [0, 1]; see `into_ball`.

    Args:
        network: images in [0, 1] to logits, in evaluation mode; its weights get no gradients here.
        x: the centres of the balls, `(N, C, H, W)` in [0, 1].
        y: labels that the network must no longer predict, `(N,)`.
        epsilon: the radius of the balls, `(N,)` or a number, for pixels in [0, 1].
        step_size: size of a step in the same unit, `(N,)` or a number.
        start: the first images, such as x or `random_start`; they are projected into the ball and into [0, 1].
        on_step: called after each step with its number, from 1, and its images.
        sparsity: share of the pixels that a step under L1 changes, in (0, 1].

    Returns:
        The last images, x_adv `(N, C, H, W)` in [0, 1].

    Raises:
        ValueError: an unknown norm.
    """
    x = x.detach()
    images = into_ball(start.detach(), x, epsilon, norm)
    for step in range(steps):
        gradient = loss_gradient(network, images, y)
        if norm == "l1":
            offset = images - x + steepest_sparse_step(gradient, images, step_size, sparsity)
        else:
            offset = images + per_image(step_size, x) * steepest_direction(gradient, norm) - x
        images = with_offset(x, offset, epsilon, norm)
        on_step(step + 1, images)
    return images


def random_start(x: Tensor, epsilon: Tensor | float, norm: Norm, generator: torch.Generator) -> Tensor:
    """Images that are uniform in the ball around x, then clipped to [0, 1].

    All images share one draw, scaled by each image's epsilon, so that none depends on its batch.

    Args:
        x: `(N, C, H, W)` in [0, 1].
        epsilon: the radius of the ball, `(N,)` or a number.
        generator: on the CPU.

    Raises:
        ValueError: an unknown norm.
    """
    shape = x.shape[1:]
    if norm == "l2":  # the direction of a Gaussian draw is uniform; the radius is drawn by volume
        draw = torch.randn(shape, generator=generator)
        draw = draw / lp_norm(draw.unsqueeze(0), norm) * torch.rand((), generator=generator) ** (1 / draw.numel())
    else:
        draw = uniform_in_ball(1, shape.numel(), norm, generator).reshape(shape)
    return (x + per_image(epsilon, x) * draw.to(x)).clamp(0, 1)


def loss_gradient(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """The gradient of each image's cross-entropy of y, `(N, C, H, W)`, with respect to the images alone."""
    with gradients_enabled():
        leaf = without_history(images).requires_grad_()
        loss = functional.cross_entropy(network(leaf), without_history(y), reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]
