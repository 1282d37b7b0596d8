"""Balls of the norms L1, L2 and L∞: norms, dual norms, projections, steepest directions, uniform samples.

A radius is one number, or one for each image, `(N,)`. The result for an image depends on that image alone.
"""

from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l1", "l2", "linf"]

DUAL: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}
"""By Hölder's inequality, a function changes by at most ‖offset‖ times the largest dual norm of its gradient."""

ORDER: dict[Norm, float] = {"l1": 1.0, "l2": 2.0, "linf": float("inf")}

SMALLEST = 1e-12
"""The smallest norm that gradients and offsets are divided by, so that a gradient of zero changes nothing."""


def lp_norm(offset: Tensor, norm: Norm) -> Tensor:
    """The norm of each row over all its other dimensions: `(N, …)` to `(N,)`.

    Raises:
        ValueError: an unknown norm.
    """
    if norm not in ORDER:
        raise ValueError(f"{norm} is no norm of these balls: {', '.join(ORDER)}")
    return torch.linalg.vector_norm(offset.flatten(1), ORDER[norm], dim=1)


def per_image(value: Tensor | float, x: Tensor) -> Tensor:
    """One value for each image, or one for all, in a shape that broadcasts against images `(N, C, H, W)`."""
    # Filled on the device: a step that is recorded there can't copy from the CPU.
    value = value.to(x.device) if isinstance(value, Tensor) else x.new_full((), value)
    return value.reshape(-1, *[1] * (x.dim() - 1))


def project_offset(offset: Tensor, radius: Tensor | float, norm: Norm) -> Tensor:
    """The nearest offsets `(N, …)` whose norm is at most `radius`.

    Raises:
        ValueError: an unknown norm.
    """
    limit = per_image(radius, offset)
    if norm == "linf":
        return torch.minimum(torch.maximum(offset, -limit), limit)
    if norm == "l1":
        return _into_l1_ball(offset, limit.flatten().expand(len(offset)))
    return offset * (limit / positive_length(offset, norm)).clamp(max=1)


def into_ball(images: Tensor, x: Tensor, radius: Tensor | float, norm: Norm) -> Tensor:
    """Images `(N, C, H, W)` projected into the ball around x, with pixels in [0, 1]; see `with_offset`."""
    return with_offset(x, images - x, radius, norm)


def with_offset(x: Tensor, offset: Tensor, radius: Tensor | float, norm: Norm) -> Tensor:
    """x plus an offset that is projected into the ball, with pixels in [0, 1].

    Under L2 and L∞ the offset is projected, then the image clipped. Under L1 the image is clipped first, so that what
    clipping takes away does not count against the radius.

    Args:
        x, offset: `(N, C, H, W)`; x in [0, 1], so that clipping never increases the distance from x.

    Raises:
        ValueError: an unknown norm.
    """
    if norm == "l1":
        offset = offset.clamp(-x, 1 - x)
    return (x + project_offset(offset, radius, norm)).clamp(0, 1)


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of norm 1 under L2 or L∞ in which a function grows fastest.

    It is 0 in pixels whose gradient is 0, NaN or infinite.
    """
    gradient = gradient.nan_to_num(nan=0, posinf=0, neginf=0)
    return gradient.sign() if norm == "linf" else gradient / positive_length(gradient, norm)


def steepest_sparse_step(gradient: Tensor, images: Tensor, length: Tensor | float, share: float) -> Tensor:
    """A step under L1 that changes equally the pixels with the largest absolute gradients, among those that are not
    yet at the end of [0, 1] in that direction (Tramèr and Boneh 2019, arXiv 1904.13000).

    Pixels whose gradient is 0, NaN or infinite do not change.

    Args:
        gradient, images: `(N, C, H, W)`.
        length: L1 norm of the step, `(N,)` or a number.
        share: of the pixels that are changed, in (0, 1].
    """
    gradient = gradient.nan_to_num(nan=0, posinf=0, neginf=0)
    count = max(1, round(share * images[0].numel()))
    room = torch.where(gradient > 0, images < 1, images > 0)
    steepest = (gradient.abs() * room).flatten(1).topk(count, dim=1).indices
    chosen = torch.zeros_like(images).flatten(1).scatter(1, steepest, 1.0).reshape(images.shape)
    moved = chosen * gradient.sign() * room
    return per_image(length / lp_norm(moved, "l1").clamp(min=1), images) * moved


def uniform_in_ball(count: int, size: int, norm: Norm, generator: torch.Generator) -> Tensor:
    """Samples that are uniform by volume in the ball of radius 1 around 0, `(count, size)` on the CPU.

    Args:
        generator: on the CPU.
    """
    if norm not in ORDER:
        raise ValueError(f"{norm} is no norm of these balls: {', '.join(ORDER)}")
    if norm == "linf":
        return 2 * torch.rand(count, size, generator=generator) - 1
    if norm == "l2":  # uniform on a sphere of two more dimensions: the other coordinates are uniform in the ball
        direction = torch.randn(count, size + 2, generator=generator)
        return direction[:, :size] / lp_norm(direction, "l2")[:, None]
    # Normalised exponential draws, one more than is kept, are uniform on the simplex; signs give all orthants.
    spacing = -torch.log1p(-torch.rand(count, size + 1, generator=generator))
    sign = 2 * torch.randint(0, 2, (count, size), generator=generator) - 1
    return sign * spacing[:, :size] / spacing.sum(dim=1, keepdim=True)


def positive_length(offset: Tensor, norm: Norm) -> Tensor:
    """The norm of each image, at least `SMALLEST`, in a shape that broadcasts against images."""
    return per_image(lp_norm(offset, norm).clamp(min=SMALLEST), offset)


def _into_l1_ball(offset: Tensor, radius: Tensor) -> Tensor:
    """Projection onto the L1 ball (Duchi et al. 2008): all absolute values shrink by one amount, down to 0.

    Args:
        offset: `(N, …)`.
        radius: `(N,)`, not negative.
    """
    sizes = offset.flatten(1).abs()
    sorted_sizes = sizes.sort(dim=1, descending=True).values
    excess = sorted_sizes.cumsum(dim=1) - radius[:, None]
    amounts = excess / torch.arange(1, sizes.shape[1] + 1, device=offset.device)
    kept = (sorted_sizes > amounts).sum(dim=1, keepdim=True).clamp(min=1)
    amount = amounts.gather(1, kept - 1).clamp(min=0)
    return (offset.flatten(1).sign() * (sizes - amount).clamp(min=0)).reshape(offset.shape)
