"""H1: the attack moves the map of class y more than matched controls do."""

import torch
from torch import Tensor

from cam_adv.evaluation.earth_mover import earth_movers_distance
from cam_adv.evaluation.map_change import centre_shift, centred_cosine, mean_change, spearman, ssim, top_iou
from cam_adv.reliability.maps import coarse

TOP_SHARE = 0.1
"""Positions whose overlap is asked for: five of 7×7."""


def change(before: Tensor, after: Tensor) -> Tensor:
    """1 − centred cosine of maps `(N, h, w)`: 0 unchanged, 1 nothing in common, 2 reversed; `(N,)`.

    A map that is the same everywhere has no pattern: nothing in common with one that has, and the same as another
    such. Rectified maps are so wherever the class has no evidence, and leaving them out would hide that.
    """
    flat_before, flat_after = (maps.flatten(1).amax(dim=1) == maps.flatten(1).amin(dim=1) for maps in (before, after))
    cosine = torch.where(flat_before | flat_after, (flat_before & flat_after).to(before), 0.0)
    patterned = ~(flat_before | flat_after)
    cosine[patterned] = centred_cosine(before[patterned], after[patterned])
    return 1 - cosine


def other_measures(before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """What else can be said of the change, `(N,)` each, NaN where a measure has nothing to say."""
    positions = before[0].numel()
    return {
        "mean_change": mean_change(before, after),
        "spearman": spearman(before, after),
        "top_iou": top_iou(before, after, max(1, round(TOP_SHARE * positions))),
        "centre_shift": centre_shift(before, after),
        # One range for all pairs of an explanation; flat maps all round still need one that is positive.
        "ssim": ssim(before, after, max((before.amax() - before.amin()).item(), 1e-12)),
        "earth_movers": earth_movers_distance(coarse(before), coarse(after)),
    }
