"""Are the pixels that an attack changes those that the CAM points at?

Xu et al. 2019 (Structured Adversarial Attack, arXiv 1808.01664) ask how much of a perturbation δ lies where the CAM
of a class is high, by their interpretability score ‖B ∘ δ‖₂ / ‖δ‖₂ with B the mask of that region. Its square is the
share of δ's energy inside, which adds up over pixels, and is what is measured here.

A region must hold more than chance does. At random positions, that is, at every cyclic shift of it, it holds on
average exactly its share of the area. But pictures, maps and perturbations all sit in the middle, so the regions of
all other classes on the same image are the harder control.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.bootstrap import hierarchical_bootstrap
from cam_adv.evaluation.intervals import Interval
from cam_adv.evaluation.map_change import highest
from cam_adv.settings import KindsSettings


@dataclass(frozen=True)
class Inside:
    """Shares of each image's perturbation energy, all `(N,)` in [0, 1].

    true, target: inside the region of class y, and of y'. others: the mean over the regions of all other classes, NaN
    where there are none. random: the mean over the region's random positions, which is its share of the image.
    true_rank, target_rank: the share of random positions at which the region holds less energy, ties half.
    """

    true: Tensor
    target: Tensor
    others: Tensor
    random: Tensor
    true_rank: Tensor
    target_rank: Tensor

    def measures(self) -> dict[str, Tensor]:
        """What is averaged over images: shares, what those of y and y' exceed controls by, and the paper's scores."""
        of = dict(vars(self))
        for name in ("true", "target"):
            of |= {f"{name}_less_{control}": of[name] - of[control] for control in ("random", "others")}
            of[f"{name}_interpretability_score"] = of[name].sqrt()
        return of


@dataclass(frozen=True)
class PerturbedPixels:
    """Where the perturbations of an attack's successes lie.

    rows: the positions of the successes, `(n,)`. inside: of these. means: over them, by measure, with intervals.
    """

    rows: Tensor
    inside: Inside
    means: dict[str, Interval]


def perturbed_pixels(
    assessments: Mapping[str, Assessment], plan: KindsSettings, seed: int
) -> dict[str, PerturbedPixels] | None:
    """Of every attack that succeeded at least twice, by name; None where the victim has no exact CAM.

    Args:
        assessments: of attacks by name, each image in one row.
        seed: of the intervals, each of which is made from it anew.
    """
    found = {}
    for name, one in assessments.items():
        if one.on_x.cam is None:
            return None
        rows, result = one.verdict.success.nonzero().squeeze(1), one.result
        if len(rows) < 2:  # one image has no interval
            continue
        pictures = result.x[rows], result.x_adv[rows], one.on_x.cam[rows]
        inside = perturbation_inside(*pictures, result.y[rows], result.target[rows], plan.perturbed_pixels.region)
        found[name] = PerturbedPixels(rows, inside, _means(inside, plan, seed))
    return found


def perturbation_inside(x: Tensor, x_adv: Tensor, maps: Tensor, y: Tensor, target: Tensor, share: float) -> Inside:
    """What share of the perturbation's energy lies in the regions of classes.

    Args:
        x, x_adv: `(N, C, H, W)` in [0, 1]; they differ.
        maps: raw maps of all classes on x, `(N, K, h, w)`.
        y, target: classes, `(N,)`, different ones.
        share: of the pixels that make a region, in (0, 1).
    """
    size = x.shape[2:]
    moved, all_maps = energy(x, x_adv), maps.unbind(dim=1)
    regions = torch.stack([region(of_class, size, share) for of_class in all_maps], dim=1)
    held = (moved.unsqueeze(1) * regions).sum(dim=(2, 3)) / moved.sum(dim=(1, 2)).unsqueeze(1)
    rows = torch.arange(len(x))
    true, aimed = held[rows, y], held[rows, target]
    return Inside(
        true=true,
        target=aimed,
        others=(held.sum(dim=1) - true - aimed) / (len(all_maps) - 2),
        random=regions[rows, y].mean(dim=(1, 2)),
        true_rank=_rank(true, at_all_positions(moved, regions[rows, y])),
        target_rank=_rank(aimed, at_all_positions(moved, regions[rows, target])),
    )


def energy(x: Tensor, x_adv: Tensor) -> Tensor:
    """δ² of every pixel, summed over channels: `(N, H, W)`."""
    return (x_adv - x).double().square().sum(dim=1)


def region(maps: Tensor, size: tuple[int, int], share: float) -> Tensor:
    """The `share` of pixels with the highest values of each map `(N, h, w)`, enlarged bilinearly to `size`.

    Returns:
        `(N, H, W)`: 1 inside, 0 outside, parts where pixels are tied at the border.
    """
    large = functional.interpolate(maps.double().unsqueeze(1), size, mode="bilinear", align_corners=False)
    flat = large.flatten(1)
    return highest(flat, max(1, round(share * flat.shape[1]))).reshape(-1, *size)


def at_all_positions(energy: Tensor, region: Tensor) -> Tensor:
    """The share of energy inside the region at every cyclic shift of it: `(N, H·W)`, the first where it is.

    All of them at once, by the correlation theorem; each row's mean is the region's share of the image.
    """
    spectrum = torch.fft.rfft2(energy) * torch.fft.rfft2(region).conj()
    held = torch.fft.irfft2(spectrum, s=energy.shape[1:])
    return held.flatten(1) / energy.sum(dim=(1, 2)).unsqueeze(1)


def _rank(here: Tensor, anywhere: Tensor) -> Tensor:
    """The share of positions that hold less than `here`, ties half, up to the transform's rounding."""
    away = here.unsqueeze(1) - anywhere
    rounding = 1e-12
    return ((away > rounding).double() + (away.abs() <= rounding).double() / 2).mean(dim=1)


def _means(inside: Inside, plan: KindsSettings, seed: int) -> dict[str, Interval]:
    image = torch.arange(len(inside.true))
    return {
        name: hierarchical_bootstrap(
            values, torch.zeros_like(image), image, plan.resamples, plan.level, torch.Generator().manual_seed(seed)
        )
        for name, values in inside.measures().items()
        if not values.isnan().any()  # two classes leave no other
    }
