"""Do attacks perturb the pixels that the class activation map (CAM) highlights?

Xu et al. 2019 (Structured Adversarial Attack, arXiv 1808.01664) measure how much of a perturbation δ lies where the
CAM of a class is high, by their interpretability score ‖B ∘ δ‖₂ / ‖δ‖₂ with B the mask of that region. Its square is
the share of δ's energy inside the region, which is additive over pixels, and is what is measured here.

A region must contain more energy than by chance. At random positions, that is, over all cyclic shifts of the region,
it contains on average exactly its share of the image's area. But objects, maps and perturbations are all centred in
the image, so that the regions of all other classes on the same image are the stricter control.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cam_adv.metrics.bootstrap import hierarchical_bootstrap
from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.intervals import Interval
from cam_adv.metrics.map_similarity import top_membership
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig


@dataclass(frozen=True)
class RegionEnergy:
    """Shares of each image's perturbation energy, all `(N,)` in [0, 1].

    true, target: inside the region of class y, and of y'.
    others: mean over the regions of all other classes, NaN where there are none.
    random: mean over all cyclic shifts of the region of y, which is the region's share of the image.
    true_rank, target_rank: the share of shifts at which the region contains less energy, ties counted half.
    """

    true: Tensor
    target: Tensor
    others: Tensor
    random: Tensor
    true_rank: Tensor
    target_rank: Tensor

    def measures(self) -> dict[str, Tensor]:
        """What is averaged over images: the shares, those of y and y' minus the controls, and the paper's scores."""
        measures = dict(vars(self))
        for name in ("true", "target"):
            measures |= {
                f"{name}_minus_{control}": measures[name] - measures[control] for control in ("random", "others")
            }
            measures[f"{name}_interpretability_score"] = measures[name].sqrt()
        return measures


@dataclass(frozen=True)
class PerturbedPixels:
    """Where the perturbations of an attack's successes lie.

    rows: positions of the n successes, `(n,)`. energy: of these. means: measure → mean over them, with its interval.
    """

    rows: Tensor
    energy: RegionEnergy
    means: dict[str, Interval]


def perturbed_pixels(
    evaluations: Mapping[str, AttackEvaluation], config: AttackComparisonConfig, seed: int
) -> dict[str, PerturbedPixels] | None:
    """For every attack with at least two successes, by its name; None where the victim has no exact CAM.

    Args:
        evaluations: of attacks by name, one row for each image.
        seed: of the bootstrap; every interval uses a new generator with this seed.
    """
    results = {}
    for name, evaluation in evaluations.items():
        cam = evaluation.on_x.cam
        if cam is None:
            return None
        rows, result = evaluation.verdict.success.nonzero().squeeze(1), evaluation.result
        cluster = evaluation.cluster[rows]
        if len(cluster.unique()) < 2:  # a single one has no interval
            continue
        energy = region_energy(
            result.x[rows],
            result.x_adv[rows],
            cam[rows],
            result.y[rows],
            result.target[rows],
            config.perturbed_pixels.region,
        )
        results[name] = PerturbedPixels(rows, energy, _means(energy, cluster, config, seed))
    return results


def region_energy(x: Tensor, x_adv: Tensor, maps: Tensor, y: Tensor, target: Tensor, share: float) -> RegionEnergy:
    """The share of the perturbation's energy inside the regions of the classes.

    Args:
        x, x_adv: `(N, C, H, W)` in [0, 1]; they differ.
        maps: raw maps of all classes on x, `(N, K, h, w)`.
        y, target: classes, `(N,)`, different ones.
        share: of the pixels that make up a region, in (0, 1).
    """
    size = (x.shape[2], x.shape[3])
    energy, class_maps = perturbation_energy(x, x_adv), maps.unbind(dim=1)
    regions = torch.stack([top_region(of_class, size, share) for of_class in class_maps], dim=1)
    inside = (energy.unsqueeze(1) * regions).sum(dim=(2, 3)) / energy.sum(dim=(1, 2)).unsqueeze(1)
    rows = torch.arange(len(x))
    of_y, of_target = inside[rows, y], inside[rows, target]
    others = inside.sum(dim=1) - of_y - of_target
    return RegionEnergy(
        true=of_y,
        target=of_target,
        others=others / (len(class_maps) - 2) if len(class_maps) > 2 else torch.full_like(others, torch.nan),
        random=regions[rows, y].mean(dim=(1, 2)),
        true_rank=_rank(of_y, energy_at_all_shifts(energy, regions[rows, y])),
        target_rank=_rank(of_target, energy_at_all_shifts(energy, regions[rows, target])),
    )


def perturbation_energy(x: Tensor, x_adv: Tensor) -> Tensor:
    """δ² of every pixel, summed over channels: `(N, H, W)`."""
    return (x_adv - x).double().square().sum(dim=1)


def top_region(maps: Tensor, size: tuple[int, int], share: float) -> Tensor:
    """The `share` of pixels with the highest values of each map `(N, h, w)`, upsampled bilinearly to `size`.

    Returns:
        `(N, H, W)`: 1 inside, 0 outside, fractions for pixels that are tied at the threshold.
    """
    upsampled = functional.interpolate(maps.double().unsqueeze(1), size, mode="bilinear", align_corners=False)
    flat = upsampled.flatten(1)
    return top_membership(flat, max(1, round(share * flat.shape[1]))).reshape(-1, *size)


def energy_at_all_shifts(energy: Tensor, region: Tensor) -> Tensor:
    """The share of energy inside the region at every cyclic shift of it: `(N, H·W)`, first the unshifted region.

    Computed for all shifts at once by the correlation theorem. Each row's mean is the region's share of the image.
    """
    spectrum = torch.fft.rfft2(energy) * torch.fft.rfft2(region).conj()
    inside = torch.fft.irfft2(spectrum, s=energy.shape[1:])
    return inside.flatten(1) / energy.sum(dim=(1, 2)).unsqueeze(1)


def _rank(value: Tensor, shifted: Tensor) -> Tensor:
    """The share of shifts with less energy than `value`, ties counted half, up to the transform's rounding error."""
    difference = value.unsqueeze(1) - shifted
    tolerance = 1e-12
    return ((difference > tolerance).double() + (difference.abs() <= tolerance).double() / 2).mean(dim=1)


def _means(energy: RegionEnergy, cluster: Tensor, config: AttackComparisonConfig, seed: int) -> dict[str, Interval]:
    return {
        name: hierarchical_bootstrap(
            values,
            torch.zeros_like(cluster),
            cluster,
            config.n_resamples,
            config.level,
            torch.Generator().manual_seed(seed),
        )
        for name, values in energy.measures().items()
        if not values.isnan().any()  # see RegionEnergy.others
    }
