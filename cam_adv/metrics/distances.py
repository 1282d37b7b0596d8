"""Distances of x' to x, and to the real images of the class that x' is meant to show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import LabelledImages
from cam_adv.models.capture import record_calls
from cam_adv.models.ensemble import Ensemble
from cam_adv.models.predictions import batched_apply

TAIL = 0.01
"""Share of real images in each tail: with a nearest neighbour closer than a near-duplicate's, or farther than an
outlier's."""


@dataclass(frozen=True)
class Distances:
    """One value for each attacked image, all `(N,)`.

    pixels: ‖x' − x‖₂ over pixels in [0, 1].
    ssim: structural similarity of x' and x (Wang et al. 2004), 1 for equal images.
    judge: ‖h(x') − h(x)‖₂ between the joined penultimate features of the judge's members.
    nearest: ‖x' − r‖₂ to the nearest training image r of the class that x' is meant to show, over pixels.
    nearest_rank: the share of the real test images of that class whose nearest training image of the class is closer
        than that: near 0 for a near-duplicate, near 1 for an outlier of the class.
    """

    pixels: Tensor
    ssim: Tensor
    judge: Tensor
    nearest: Tensor
    nearest_rank: Tensor

    def summary(self) -> dict[str, float]:
        """Medians, and the rates of near-duplicates and of outliers, each about 1% among real images."""
        medians = {f"median_{name}": getattr(self, name).median().item() for name in ("pixels", "ssim", "judge")}
        return medians | {
            "median_nearest": self.nearest.median().item(),
            "near_duplicate_rate": (self.nearest_rank < TAIL).float().mean().item(),
            "outlier_rate": (self.nearest_rank > 1 - TAIL).float().mean().item(),
        }


def measure_distances(
    x: Tensor,
    x_adv: Tensor,
    perceived_label: Tensor,
    judge: Ensemble,
    train: LabelledImages,
    test: LabelledImages,
    device: torch.device,
) -> Distances:
    """All distances of attacked images.

    Args:
        x, x_adv: `(N, C, H, W)` in [0, 1].
        perceived_label: the class that x' is meant to show, `(N,)`: y' for a Type I attack, y for a Type II attack.
        train: the images among which nearest neighbours are searched.
        test: real images that no network was trained on; the distances of these define `nearest_rank`.
    """
    nearest, rank = torch.empty(len(x)), torch.empty(len(x))
    for label in perceived_label.unique().tolist():
        neighbours = _flat(train.images[train.labels == label])
        rows = perceived_label == label
        nearest[rows] = _distance_to_nearest(_flat(x_adv[rows]), neighbours, device)
        real = _distance_to_nearest(_flat(test.images[test.labels == label]), neighbours, device).sort().values
        rank[rows] = torch.searchsorted(real, nearest[rows]) / max(1, len(real))
    features = [penultimate_features(judge.members.values(), images, device) for images in (x, x_adv)]
    similarity = structural_similarity_index_measure(x_adv, x, reduction="none", data_range=1.0)
    return Distances(
        pixels=_flat(x_adv - x).norm(dim=1),
        ssim=cast(Tensor, similarity).reshape(len(x)),
        judge=(features[1] - features[0]).norm(dim=1),
        nearest=nearest,
        nearest_rank=rank,
    )


def penultimate_features(networks: Iterable[nn.Module], images: Tensor, device: torch.device) -> Tensor:
    """Inputs of each network's last linear layer, or its logits if it has none, joined: `(N, F)`."""
    return torch.cat([batched_apply(_penultimate(network), images, device) for network in networks], dim=1)


def _penultimate(network: nn.Module) -> Callable[[Tensor], Tensor]:
    linear_layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear_layers:
        return network

    def features(images: Tensor) -> Tensor:
        with record_calls([linear_layers[-1]]) as calls:
            network(images)
        return calls[-1].inputs[0].flatten(1)

    return features


def _flat(images: Tensor) -> Tensor:
    return to_unit_range(images).flatten(1)


def _distance_to_nearest(images: Tensor, neighbours: Tensor, device: torch.device) -> Tensor:
    """Distance to the nearest neighbour, `(N,)`, on the CPU."""
    neighbours = neighbours.to(device)
    return batched_apply(lambda batch: torch.cdist(batch, neighbours).amin(dim=1), images, device)
