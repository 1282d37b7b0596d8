"""Similarity of two raw signed attribution maps, one number for each pair.

Every function takes maps `before` and `after`, `(N, h, w)`, and returns `(N,)`, NaN where a map contains NaN. Maps
are not normalised, except as the definition of a measure requires.
"""

from typing import cast

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

SSIM_WINDOW = 3
"""Side of SSIM's window: the maps have 7×7 positions, which the usual window of 11×11 would always cover entirely."""


def mean_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean of `after` less mean of `before`: for CAM_c the change of logit c, for contrast CAM that of the margin."""
    return (after - before).mean(dim=(1, 2))


def centred_cosine(before: Tensor, after: Tensor) -> Tensor:
    """Cosine of the maps less their means, in [-1, 1]: Pearson's correlation over positions.

    NaN where a map is constant: it has no pattern to compare.
    """
    return _correlation(before.flatten(1), after.flatten(1))


def spearman(before: Tensor, after: Tensor) -> Tensor:
    """Spearman's rank correlation over positions, in [-1, 1]; ties get their mean rank.

    NaN where a map is constant.
    """
    return _correlation(_ranks(before.flatten(1)), _ranks(after.flatten(1)))


def top_iou(before: Tensor, after: Tensor, positions: int) -> Tensor:
    """Intersection over union of the highest `positions` of each map, in [0, 1].

    Membership is fractional, see `top_membership`: intersection and union are the sums of the smaller and of the
    larger memberships. The result does not depend on the order of positions, and is 1 for a map and itself.

    Raises:
        ValueError: `positions` is not in [1, hw].
    """
    one, other = top_membership(before.flatten(1), positions), top_membership(after.flatten(1), positions)
    return torch.minimum(one, other).sum(dim=1) / torch.maximum(one, other).sum(dim=1)


def centre_shift(before: Tensor, after: Tensor) -> Tensor:
    """Distance between the centres of mass of the maps' positive parts, in positions.

    The centre of a map without a positive part is the middle, as that of a constant map.
    """
    height, width = before.shape[1:]
    grid = grid_positions(height, width).to(before)
    return ((positive_mass(after) - positive_mass(before)) @ grid).norm(dim=1)


def ssim(before: Tensor, after: Tensor, data_range: float) -> Tensor:
    """Structural similarity (Wang et al. 2004), mean over 3×3 windows, at most 1.

    Args:
        data_range: the range L of the values in C1 = (0.01 L)² and C2 = (0.03 L)²: the same for all pairs that are
            compared, since each range defines a different measure.

    Raises:
        ValueError: the range is not positive.
    """
    if not data_range > 0:
        raise ValueError(f"a data range of {data_range} leaves SSIM undefined")
    similarity = structural_similarity_index_measure(
        after.unsqueeze(1),
        before.unsqueeze(1),
        gaussian_kernel=False,
        kernel_size=SSIM_WINDOW,
        data_range=float(data_range),
        reduction="none",
    )
    return cast(Tensor, similarity).reshape(len(before))


def positive_mass(maps: Tensor) -> Tensor:
    """The positive part of each map as a distribution over positions: `(N, hw)`, rows sum to 1.

    A map without a positive part gets the uniform distribution.
    """
    positive = maps.flatten(1).relu()
    total = positive.sum(dim=1, keepdim=True)
    return torch.where(total == 0, 1 / positive.shape[1], positive / total)


def grid_positions(height: int, width: int) -> Tensor:
    """Row and column of every position: `(hw, 2)`."""
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))


def top_membership(values: Tensor, count: int) -> Tensor:
    """Membership of each position in the highest `count` of its row of `(N, hw)`: in [0, 1], rows sum to `count`.

    Positions tied at the threshold share the remaining places equally. NaN where a row contains NaN.

    Raises:
        ValueError: `count` is not in [1, hw].
    """
    if not 1 <= count <= values.shape[1]:
        raise ValueError(f"{count} of {values.shape[1]} positions can't be the highest")
    threshold = values.topk(count, dim=1).values[:, -1:]
    above, tied = values > threshold, values == threshold
    remaining = count - above.sum(dim=1, keepdim=True)
    membership = above.to(values.dtype) + tied * (remaining / tied.sum(dim=1, keepdim=True)).to(values.dtype)
    return torch.where(values.isnan(), torch.nan, membership)


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    # Tested on the values, since a constant less its mean may be a rounding error instead of 0.
    constant = (one == one[:, :1]).all(dim=1) | (other == other[:, :1]).all(dim=1)
    one, other = (values - values.mean(dim=1, keepdim=True) for values in (one, other))
    cosine = (one / one.norm(dim=1, keepdim=True) * other / other.norm(dim=1, keepdim=True)).sum(dim=1)
    return torch.where(constant, torch.nan, cosine.clamp(-1, 1))


def _ranks(values: Tensor) -> Tensor:
    """Rank in each row, starting at 1; ties get the mean of their ranks."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return torch.where(values.isnan(), torch.nan, (below + up_to + 1).to(values.dtype) / 2)
