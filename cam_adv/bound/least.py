"""The smallest perturbation that any of the attacks found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attack.norm_bounded import pgd
from cam_adv.bound.balls import length
from cam_adv.bound.bisection import InBall, Look, bisect
from cam_adv.bound.ddn import ddn
from cam_adv.bound.nearest import Nearest, back_to_the_border, leaves
from cam_adv.bound.sparse import sparse_pgd
from cam_adv.networks.predictions import BATCH
from cam_adv.settings import Norm, SearchSettings


@dataclass(frozen=True)
class Least:
    """One row for each image, on the CPU.

    distance: from x under a norm, `(N,)`; inf where no attack found another answer.
    attack: which found it; "" where none did.
    images: the nearest images of another answer, `(N, C, H, W)` in [0, 1]; x itself where there is none.
    """

    distance: Tensor
    attack: list[str]
    images: Tensor


def least(
    network: nn.Module, x: Tensor, y: Tensor, norms: Sequence[Norm], search: SearchSettings
) -> dict[Norm, Least]:
    """For each norm the nearest image of another answer among all that DDN and PGD under each norm met.

    DDN goes first; PGD looks inside the radius of what DDN found. What either finds is pulled back to the border on a
    straight line, and counts once the network has been asked: it must lie in [0, 1] and not be y.

    Args:
        network: images in [0, 1] to logits, in evaluation mode; its weights get no gradient from here.
        x: `(N, C, H, W)` in [0, 1].
        y: the answers that the network is to leave, `(N,)`.
    """
    parts = [
        _least(network, images, answers, norms, search)
        for images, answers in zip(x.split(BATCH), y.split(BATCH), strict=True)
    ]
    return {
        norm: Least(
            torch.cat([part[norm].distance for part in parts]),
            [name for part in parts for name in part[norm].attack],
            torch.cat([part[norm].images for part in parts]),
        )
        for norm in norms
    }


def _least(
    network: nn.Module, x: Tensor, y: Tensor, norms: Sequence[Norm], search: SearchSettings
) -> dict[Norm, Least]:
    """`least`, for images that fit into memory at once."""
    found = {"ddn": ddn(network, x, y, search.ddn.steps, search.ddn.first_radius, search.ddn.gamma)}
    found["ddn"] = back_to_the_border(network, x, found["ddn"], y, search.border_halvings)
    known = leaves(network, found["ddn"], y)
    for norm in norms:
        farthest = torch.where(known, length(found["ddn"] - x, norm), length(torch.ones_like(x), norm))
        images = bisect(network, x, y, norm, _pgd(network, x, y, norm, search), farthest, search.pgd.halvings)
        found[f"pgd_{norm}"] = back_to_the_border(network, x, images, y, search.border_halvings)
    return {norm: _nearest(network, x, y, norm, found) for norm in norms}


def _pgd(network: nn.Module, x: Tensor, y: Tensor, norm: Norm, search: SearchSettings) -> InBall:
    """PGD under a norm, started at x."""
    steps, share = search.pgd.steps, search.pgd.share

    def attack(radius: Tensor, look: Look) -> None:
        step_size = search.pgd.step_length * radius / steps
        if norm == "l1":
            sparse_pgd(network, x, y, radius, steps, step_size, share, look)
        else:
            pgd(network, x, y, radius, norm, steps, step_size, x, look)

    return attack


def _nearest(network: nn.Module, x: Tensor, y: Tensor, norm: Norm, found: Mapping[str, Tensor]) -> Least:
    nearest = Nearest(x, norm)
    attack = [""] * len(x)
    for name, images in found.items():
        before = nearest.distance
        inside = ((images >= 0) & (images <= 1)).flatten(1).all(dim=1)
        nearest.keep(images, inside & leaves(network, images, y))
        for row in (nearest.distance < before).nonzero().flatten().tolist():
            attack[row] = name
    return Least(nearest.distance.cpu(), attack, nearest.images.cpu())
