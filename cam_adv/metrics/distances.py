"""Distances of x' to x, and to the real images of the class that x' is meant to show."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.metrics.evaluator import Evaluator
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
    code_nearest, code_nearest_rank: the same for the codes of x', of the training images and of the test images; the
        latter two as `encode` gives them, also where `Generator.invert` would improve them.
    other: ‖x' − x''‖₂ to the nearest other result that is meant to show the same class; infinite if there is none.
    other_real: the same among as many real test images of the class, in any order.
    """

    pixels: Tensor
    ssim: Tensor
    judge: Tensor
    nearest: Tensor
    nearest_rank: Tensor
    code_nearest: Tensor
    code_nearest_rank: Tensor
    other: Tensor
    other_real: Tensor

    def summary(self) -> dict[str, float]:
        """Medians and rates, each of these about 1% among real images, but `codes_on_manifold`, 99%.

        near_duplicate_rate, outlier_rate: of a training image, and of the class.
        codes_on_manifold: codes no further from the nearest training code of the class than 99% of real codes are.
        copy_rate: results closer to another result of the class than 99% of real images are to another real image.
        """
        names = ("pixels", "ssim", "judge", "nearest", "code_nearest", "other", "other_real")
        finite = {name: values[values.isfinite()] for name in names for values in [getattr(self, name)]}
        medians = {f"median_{name}": values.median().item() for name, values in finite.items() if len(values)}
        return medians | {
            "near_duplicate_rate": (self.nearest_rank < TAIL).float().mean().item(),
            "outlier_rate": (self.nearest_rank > 1 - TAIL).float().mean().item(),
            "codes_on_manifold": (self.code_nearest_rank <= 1 - TAIL).float().mean().item(),
            "copy_rate": (self.other < torch.quantile(self.other_real, TAIL)).float().mean().item(),
        }


def measure_distances(
    x: Tensor, x_adv: Tensor, codes: Tensor, perceived_label: Tensor, evaluator: Evaluator, splits: ImageSplits
) -> Distances:
    """All distances of attacked images.

    Args:
        x, x_adv: `(N, C, H, W)` in [0, 1].
        codes: of x_adv, `(N, D)`.
        perceived_label: the class that x' is meant to show, `(N,)`: y' for a Type I attack, y for a Type II attack.
        evaluator: its judge and generator give features and codes.
        splits: neighbours are searched among the training images; no network was trained on the test images, whose
            distances define the ranks.
    """
    device = evaluator.device
    train, test = splits.train, splits.test
    train_codes, test_codes = _codes(evaluator, train), _codes(evaluator, test)
    nearest, rank, code_nearest, code_rank, other, other_real = torch.empty(6, len(x)).unbind()
    for label in perceived_label.unique().tolist():
        rows, own, real = perceived_label == label, train.labels == label, test.labels == label
        own_pixels, real_pixels, shown = _flat(train.images[own]), _flat(test.images[real]), _flat(x_adv[rows])
        nearest[rows], rank[rows] = _nearest_and_rank(shown, own_pixels, real_pixels, device)
        code_nearest[rows], code_rank[rows] = _nearest_and_rank(
            codes[rows], train_codes[own], test_codes[real], device
        )
        other[rows] = _distance_to_another(shown)
        among_real = _distance_to_another(real_pixels[: len(shown)])
        other_real[rows] = among_real.repeat(-(-len(shown) // len(among_real)))[: len(shown)]
    features = [evaluator.judge.features(images, device) for images in (x, x_adv)]
    similarity = structural_similarity_index_measure(x_adv, x, reduction="none", data_range=1.0)
    return Distances(
        pixels=_flat(x_adv - x).norm(dim=1),
        ssim=cast(Tensor, similarity).reshape(len(x)),
        judge=(features[1] - features[0]).norm(dim=1),
        nearest=nearest,
        nearest_rank=rank,
        code_nearest=code_nearest,
        code_nearest_rank=code_rank,
        other=other,
        other_real=other_real,
    )


def _codes(evaluator: Evaluator, images: LabelledImages) -> Tensor:
    return batched_apply(lambda part: evaluator.generator.encode(part).mean, images.images, evaluator.device)


def _flat(images: Tensor) -> Tensor:
    return to_unit_range(images).flatten(1)


def _nearest_and_rank(
    points: Tensor, neighbours: Tensor, real: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Distance of points `(n, F)` to the nearest neighbour, and the share of real points that are closer: `(n,)`."""
    distance = _distance_to_nearest(points, neighbours, device)
    of_real = _distance_to_nearest(real, neighbours, device).sort().values
    return distance, torch.searchsorted(of_real, distance) / max(1, len(of_real))


def _distance_to_nearest(points: Tensor, neighbours: Tensor, device: torch.device) -> Tensor:
    """Distance to the nearest neighbour, `(n,)`, on the CPU."""
    neighbours = neighbours.to(device)
    return batched_apply(lambda batch: torch.cdist(batch, neighbours).amin(dim=1), points, device)


def _distance_to_another(points: Tensor) -> Tensor:
    """Distance of each point `(n, F)` to the nearest other one, `(n,)`; infinite for a single point."""
    return torch.cdist(points, points).fill_diagonal_(torch.inf).amin(dim=1)
