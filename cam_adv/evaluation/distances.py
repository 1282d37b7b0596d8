"""How far x' is from x, and from the real images of the class that it pretends to be."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from cam_adv.data.splits import LabelledImages
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.predictions import in_batches, unit

RARE = 0.01
"""The share of real images whose nearest neighbour is as near as that of a copy, or as far as that of a stranger."""


@dataclass(frozen=True)
class Distances:
    """One value for each attacked image, all `(N,)`.

    pixels: ‖x' − x‖₂ over pixels in [0, 1]. ssim: structural similarity of x' and x (Wang et al. 2004), 1 for
    equal ones. judge: ‖h(x') − h(x)‖₂ between the last hidden layers of the judge's members, joined.
    nearest: ‖x' − r‖₂ to the nearest training image r of the class that x' pretends to be, over pixels.
    nearest_rank: the share of the real test images of that class whose own nearest training image of their class is
    nearer than that: near 0 a copy, near 1 a stranger to the class.
    """

    pixels: Tensor
    ssim: Tensor
    judge: Tensor
    nearest: Tensor
    nearest_rank: Tensor

    def figures(self) -> dict[str, float]:
        """Medians, and the shares of copies and of strangers, of which real images have 1% each."""
        medians = {f"median_{name}": getattr(self, name).median().item() for name in ("pixels", "ssim", "judge")}
        return medians | {
            "median_nearest": self.nearest.median().item(),
            "share_copies": (self.nearest_rank < RARE).float().mean().item(),
            "share_strangers": (self.nearest_rank > 1 - RARE).float().mean().item(),
        }


def measure(
    x: Tensor,
    x_adv: Tensor,
    seen: Tensor,
    judge: Ensemble,
    train: LabelledImages,
    test: LabelledImages,
    device: torch.device,
) -> Distances:
    """All distances of attacked images.

    Args:
        x, x_adv: `(N, C, H, W)` in [0, 1].
        seen: the class that x' pretends to be, `(N,)`: y' under a Type I attack, y under one of Type II.
        train: where neighbours are sought.
        test: real images that no network was trained on, whose own distances are the measure of "near".
    """
    nearest, rank = torch.empty(len(x)), torch.empty(len(x))
    for label in seen.unique().tolist():
        neighbours = _flat(train.images[train.labels == label])
        chosen = seen == label
        nearest[chosen] = _to_nearest(_flat(x_adv[chosen]), neighbours, device)
        real = _to_nearest(_flat(test.images[test.labels == label]), neighbours, device).sort().values
        rank[chosen] = torch.searchsorted(real, nearest[chosen]) / max(1, len(real))
    features = [hidden(judge.members.values(), images, device) for images in (x, x_adv)]
    return Distances(
        pixels=_flat(x_adv - x).norm(dim=1),
        ssim=structural_similarity_index_measure(x_adv, x, reduction="none", data_range=1.0).reshape(len(x)),
        judge=(features[1] - features[0]).norm(dim=1),
        nearest=nearest,
        nearest_rank=rank,
    )


def hidden(networks: Iterable[nn.Module], images: Tensor, device: torch.device) -> Tensor:
    """What reaches the last linear layer of each network, or the logits of one that has none, joined: `(N, F)`."""
    return torch.cat([in_batches(_before_last_linear(network), images, device) for network in networks], dim=1)


def _before_last_linear(network: nn.Module) -> Callable[[Tensor], Tensor]:
    linear = [part for part in network.modules() if isinstance(part, nn.Linear)]
    if not linear:
        return network

    def features(images: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = linear[-1].register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
        try:
            network(images)
        finally:
            hook.remove()
        return seen[-1].flatten(1)

    return features


def _flat(images: Tensor) -> Tensor:
    return unit(images).flatten(1)


def _to_nearest(images: Tensor, neighbours: Tensor, device: torch.device) -> Tensor:
    """Distance to the nearest neighbour, `(N,)`, on the CPU."""
    near = neighbours.to(device)
    return in_batches(lambda part: torch.cdist(part, near).amin(dim=1), images, device)
