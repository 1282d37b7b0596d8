"""PGD under L1, whose steps move few pixels (Tramèr and Boneh 2019, arXiv 1904.13000)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.attack.norm_bounded import loss_gradient, wide
from cam_adv.bound.balls import length


def sparse_pgd(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: Tensor,
    steps: int,
    step_size: Tensor,
    share: float,
    on_step: Callable[[int, Tensor], None] = lambda step, images: None,
) -> Tensor:
    """Projected gradient ascent on the cross-entropy of y inside L1 balls, from their centres: the last images.

    A step moves by equal amounts the pixels of the steepest slopes, of those that have room left in [0, 1].

    Args:
        network: images in [0, 1] to logits, in evaluation mode; its weights get no gradient from here.
        x: the balls' centres, `(N, C, H, W)` in [0, 1].
        y: the answers that the network is to leave, `(N,)`.
        epsilon: the balls' radius, `(N,)`.
        step_size: length of a step under L1, `(N,)`.
        share: of the pixels that a step moves, in (0, 1].
        on_step: told each step that was done and its images.
    """
    count = max(1, round(share * x[0].numel()))
    images = x
    for step in range(steps):
        gradient = loss_gradient(network, images, y)
        room = torch.where(gradient > 0, images < 1, images > 0)
        steepest = (gradient.abs() * room).flatten(1).topk(count, dim=1).indices
        moved = torch.zeros_like(x).flatten(1).scatter(1, steepest, 1.0).reshape(x.shape) * gradient.sign() * room
        offset = images - x + wide(step_size / length(moved, "l1").clamp(min=1), x) * moved
        images = (x + into_l1_ball(offset.clamp(-x, 1 - x), epsilon)).clamp(0, 1)
        on_step(step + 1, images)
    return images


def into_l1_ball(offset: Tensor, radius: Tensor) -> Tensor:
    """The nearest offsets of L1 norm `radius` at most (Duchi et al. 2008): all shrink by one amount, down to 0.

    Args:
        offset: `(N, …)`.
        radius: `(N,)`, positive.
    """
    sizes = offset.flatten(1).abs()
    sorted_sizes = sizes.sort(dim=1, descending=True).values
    excess = sorted_sizes.cumsum(dim=1) - radius[:, None]
    amounts = excess / torch.arange(1, sizes.shape[1] + 1, device=offset.device)
    kept = (sorted_sizes > amounts).sum(dim=1, keepdim=True).clamp(min=1)
    amount = amounts.gather(1, kept - 1).clamp(min=0)
    return (offset.flatten(1).sign() * (sizes - amount).clamp(min=0)).reshape(offset.shape)
