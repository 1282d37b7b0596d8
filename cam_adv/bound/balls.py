"""Norms of offsets, their duals, and points that are uniform in their balls."""

import torch
from torch import Tensor

from cam_adv.settings import Norm

DUAL: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}
"""By Hölder's inequality a function changes by at most ‖offset‖ times the largest dual norm of its gradient."""

ORDER = {"l1": 1.0, "l2": 2.0, "linf": float("inf")}


def length(offset: Tensor, norm: Norm) -> Tensor:
    """The norm of each row over all its other dimensions: `(N, …)` to `(N,)`."""
    return torch.linalg.vector_norm(offset.flatten(1), ORDER[norm], dim=1)


def uniform_in_ball(count: int, size: int, norm: Norm, generator: torch.Generator) -> Tensor:
    """Points drawn uniformly by volume from the ball of radius 1 around 0, `(count, size)` on the CPU.

    Args:
        generator: on the CPU.
    """
    if norm == "linf":
        return 2 * torch.rand(count, size, generator=generator) - 1
    if norm == "l2":  # two more coordinates on the sphere are left out: what stays is uniform in the ball
        direction = torch.randn(count, size + 2, generator=generator)
        return direction[:, :size] / length(direction, "l2")[:, None]
    # The spacings of uniform numbers, one more than is kept, are uniform on the simplex; then every orthant.
    spacing = -torch.log1p(-torch.rand(count, size + 1, generator=generator))
    sign = 2 * torch.randint(0, 2, (count, size), generator=generator) - 1
    return sign * spacing[:, :size] / spacing.sum(dim=1, keepdim=True)
