"""H1: the attack changes the map of class y more than matched controls do."""

import torch
from torch import Tensor

from cam_adv.metrics.earth_mover import earth_movers_distance
from cam_adv.metrics.map_similarity import centre_shift, centred_cosine, mean_change, spearman, ssim, top_iou
from cam_adv.studies.explanation_reliability.maps import downsample

TOP_SHARE = 0.1
"""Share of the positions whose overlap is measured: five of 7×7."""


def map_dissimilarity(before: Tensor, after: Tensor) -> Tensor:
    """1 − centred cosine of maps `(N, h, w)`: 0 unchanged, 1 uncorrelated, 2 reversed; `(N,)`.

    A constant map has no pattern: its dissimilarity is 1 to a map that has one, and 0 to another constant map.
    Rectified maps are constant wherever the class has no evidence, and leaving them out would hide that.
    """
    flat_before, flat_after = (maps.flatten(1).amax(dim=1) == maps.flatten(1).amin(dim=1) for maps in (before, after))
    cosine = torch.where(flat_before | flat_after, (flat_before & flat_after).to(before), 0.0)
    patterned = ~(flat_before | flat_after)
    cosine[patterned] = centred_cosine(before[patterned], after[patterned])
    return 1 - cosine


def other_measures(before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """Further measures of the change, `(N,)` each, NaN where a measure is undefined."""
    positions = before[0].numel()
    return {
        "mean_change": mean_change(before, after),
        "spearman": spearman(before, after),
        "top_iou": top_iou(before, after, max(1, round(TOP_SHARE * positions))),
        "centre_shift": centre_shift(before, after),
        # One range for all pairs of an attribution method, positive even where all maps are constant.
        "ssim": ssim(before, after, max((before.amax() - before.amin()).item(), 1e-12)),
        "earth_movers": earth_movers_distance(downsample(before), downsample(after)),
    }
