"""How much an explanation changed: measures between two raw signed maps, one number for each pair.

Every function takes maps `before` and `after`, `(N, h, w)`, and returns `(N,)`, NaN where a map holds NaN. Nothing is
normalised on the way but what a measure's own definition says.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

SSIM_WINDOW = 3
"""Side of SSIM's window: the maps have 7×7 positions, on which the usual 11×11 would see everything everywhere."""


def mean_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean after less mean before: of CAM_c the change of logit c, of a contrast map the change of the margin."""
    return (after - before).mean(dim=(1, 2))


def centred_cosine(before: Tensor, after: Tensor) -> Tensor:
    """Cosine of the maps less their means, in [-1, 1]: Pearson's correlation over positions.

    NaN where a map is the same everywhere: it has no pattern to compare.
    """
    return _correlation(before.flatten(1), after.flatten(1))


def spearman(before: Tensor, after: Tensor) -> Tensor:
    """Spearman's rank correlation over positions, in [-1, 1]; ties share their mean rank.

    NaN as `centred_cosine`.
    """
    return _correlation(_ranks(before.flatten(1)), _ranks(after.flatten(1)))


def top_iou(before: Tensor, after: Tensor, positions: int) -> Tensor:
    """Intersection over union of the highest `positions` of each map, in [0, 1].

    Positions tied at the threshold share the places left, each a part of a member: union and intersection are sums of
    the larger and of the smaller parts. So the answer depends on no order, and a map has 1 with itself.

    Raises:
        ValueError: `positions` is not in [1, hw].
    """
    one, other = highest(before.flatten(1), positions), highest(after.flatten(1), positions)
    return torch.minimum(one, other).sum(dim=1) / torch.maximum(one, other).sum(dim=1)


def centre_shift(before: Tensor, after: Tensor) -> Tensor:
    """Distance between the centres of mass of the maps' positive parts, in positions.

    A map without a positive part has its centre in the middle, as has a map that is the same everywhere.
    """
    height, width = before.shape[1:]
    grid = grid_positions(height, width).to(before)
    return ((positive_mass(after) - positive_mass(before)) @ grid).norm(dim=1)


def ssim(before: Tensor, after: Tensor, data_range: float) -> Tensor:
    """Structural similarity (Wang et al. 2004), mean over 3×3 windows, at most 1.

    Args:
        data_range: the values' range L in C1 = (0.01 L)² and C2 = (0.03 L)²: one for all pairs that are compared, for
            with a range of its own each pair would be measured by another rule.

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
    return similarity.reshape(len(before))


def positive_mass(maps: Tensor) -> Tensor:
    """The positive part of each map as a distribution over positions: `(N, hw)`, rows sum to 1.

    Where there is none, every position has the same: the limit of a vanishing part that favours none.
    """
    positive = maps.flatten(1).relu()
    total = positive.sum(dim=1, keepdim=True)
    return torch.where(total == 0, 1 / positive.shape[1], positive / total)


def grid_positions(height: int, width: int) -> Tensor:
    """Row and column of every position: `(hw, 2)`."""
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))


def highest(values: Tensor, count: int) -> Tensor:
    """How much of each position belongs to the highest `count` of its row of `(N, hw)`: in [0, 1], sums to `count`.

    Positions tied at the threshold share the places left. NaN where a row holds NaN.

    Raises:
        ValueError: `count` is not in [1, hw].
    """
    if not 1 <= count <= values.shape[1]:
        raise ValueError(f"{count} of {values.shape[1]} positions can't be the highest")
    threshold = values.topk(count, dim=1).values[:, -1:]
    above, level = values > threshold, values == threshold
    left = count - above.sum(dim=1, keepdim=True)
    parts = above.to(values.dtype) + level * (left / level.sum(dim=1, keepdim=True)).to(values.dtype)
    return torch.where(values.isnan(), torch.nan, parts)


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    # Asked of the values, for what is left of a constant less its mean may be rounding.
    flat = (one == one[:, :1]).all(dim=1) | (other == other[:, :1]).all(dim=1)
    one, other = (values - values.mean(dim=1, keepdim=True) for values in (one, other))
    cosine = (one / one.norm(dim=1, keepdim=True) * other / other.norm(dim=1, keepdim=True)).sum(dim=1)
    return torch.where(flat, torch.nan, cosine.clamp(-1, 1))


def _ranks(values: Tensor) -> Tensor:
    """Rank in each row from 1 up; ties get the mean of the ranks that they take together."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return torch.where(values.isnan(), torch.nan, (below + up_to + 1).to(values.dtype) / 2)
