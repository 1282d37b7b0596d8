"""The smallest perturbation that any of several attacks finds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attacks.best_adversarial import BestAdversarial, boundary_binary_search, misclassified
from cam_adv.attacks.ddn import ddn
from cam_adv.attacks.pgd import pgd
from cam_adv.models.lp_balls import Norm, lp_norm
from cam_adv.models.predictions import BATCH
from cam_adv.studies.min_perturbation.bisection import ImageCallback, RadiusAttack, bisect_radius
from cam_adv.studies.min_perturbation.config import PGDSearch, SearchConfig


@dataclass(frozen=True)
class MinimalPerturbation:
    """The nearest adversarial images found, one row for each image, on the CPU.

    distance: from x under the norm, `(N,)`; inf where no attack succeeded.
    attack: name of the attack that found it; "" where none did.
    images: the nearest adversarial images, `(N, C, H, W)` in [0, 1]; x where there are none.
    """

    distance: Tensor
    attack: list[str]
    images: Tensor


def find_minimal_perturbation(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    norms: Sequence[Norm],
    config: SearchConfig,
    on_attack: Callable[[], None] = lambda: None,
) -> dict[Norm, MinimalPerturbation]:
    """For each norm, the nearest adversarial image among all those that DDN and PGD under each norm find.

    DDN runs first; PGD searches within the distance of DDN's result. A boundary search then moves each result towards
    x on a straight line. A result counts if it is in [0, 1] and the network does not classify it as y.

    Args:
        network: images in [0, 1] to logits, in eval mode; its weights get no gradients here.
        x: `(N, C, H, W)` in [0, 1].
        y: labels that the network is to leave, `(N,)`.
        on_attack: called after each of the `number_of_attacks`.
    """
    batches = [
        _search_batch(network, images, labels, norms, config, on_attack)
        for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True)
    ]
    return {
        norm: MinimalPerturbation(
            torch.cat([batch[norm].distance for batch in batches]),
            [name for batch in batches for name in batch[norm].attack],
            torch.cat([batch[norm].images for batch in batches]),
        )
        for norm in norms
    }


def number_of_attacks(images: int, norms: int, config: SearchConfig) -> int:
    """How many attacks `find_minimal_perturbation` runs: in each batch DDN, and PGD for each norm and radius."""
    return math.ceil(images / BATCH) * (1 + norms * config.pgd.bisection_steps)


def _search_batch(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    norms: Sequence[Norm],
    config: SearchConfig,
    on_attack: Callable[[], None],
) -> dict[Norm, MinimalPerturbation]:
    """`find_minimal_perturbation` for images that fit into memory at once."""
    boundary_steps = config.border_bisection_steps
    found = ddn(network, x, y, config.ddn.steps, config.ddn.first_radius, config.ddn.gamma)
    on_attack()
    found = boundary_binary_search(network, x, found, y, boundary_steps)
    candidates = {"ddn": found}
    success = misclassified(network, found, y)
    for norm in norms:
        max_radius = torch.where(success, lp_norm(found - x, norm), lp_norm(torch.ones_like(x), norm))
        attack = _pgd_within_radius(network, x, y, norm, config.pgd, on_attack)
        images = bisect_radius(network, x, y, norm, attack, max_radius, config.pgd.bisection_steps)
        candidates[f"pgd_{norm}"] = boundary_binary_search(network, x, images, y, boundary_steps)
    return {norm: _nearest(network, x, y, norm, candidates) for norm in norms}


def _pgd_within_radius(
    network: nn.Module, x: Tensor, y: Tensor, norm: Norm, config: PGDSearch, on_attack: Callable[[], None]
) -> RadiusAttack:
    """PGD under a norm, started at x."""

    def attack(radius: Tensor, on_step: ImageCallback) -> None:
        step_size = config.step_length * radius / config.steps
        pgd(network, x, y, radius, norm, config.steps, step_size, x, on_step, config.share)
        on_attack()

    return attack


def _nearest(
    network: nn.Module, x: Tensor, y: Tensor, norm: Norm, candidates: Mapping[str, Tensor]
) -> MinimalPerturbation:
    """The nearest of the adversarial images among the candidates, attack → images."""
    best = BestAdversarial(x, norm)
    attack = [""] * len(x)
    for name, images in candidates.items():
        before = best.distance
        in_range = ((images >= 0) & (images <= 1)).flatten(1).all(dim=1)
        best.keep(images, in_range & misclassified(network, images, y))
        for row in (best.distance < before).nonzero().flatten().tolist():
            attack[row] = name
    return MinimalPerturbation(best.distance.cpu(), attack, best.images.cpu())
