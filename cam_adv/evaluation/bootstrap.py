"""Confidence intervals of a mean over images, when victims trained from several seeds were attacked on them.

The unit is the source image. A row is what was measured for one victim, one image and one target. Rows of one victim
and image are averaged, so that nine targets of an image do not count as nine images. Then victims are drawn with
replacement, images are drawn with replacement, and the targets of an image come with it: drawing those again would
count their spread twice (Davison and Hinkley 1997, section 3.8).

An image that several victims were attacked on is drawn once for all of them, and a cell counts as often as its
victim times its image was drawn (the pigeonhole bootstrap, Owen 2007, Annals of Applied Statistics 1). Were it drawn
anew for each victim, an image that is easy for all of them would count as several independent ones, and the interval
would be too short. Where victims share no image, images are drawn within their victim: the usual two-level bootstrap.
With one victim this is the plain bootstrap over its images, and says nothing of other victims.

How often a 95% interval misses (measured: normal data, 100 images, 2,000 simulations): 3 to 5% where victims differ
a tenth as much as images do or less, under 1% if they share no image. But where victims differ as much as images:
23% with 3 victims, 15% with 5, 9% with 10, 7% with 30. A few victims cannot show how much victims differ, and no
resampling changes that.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr, ndtri
from torch import Tensor

from cam_adv.evaluation.intervals import Interval

DRAWS_AT_ONCE = 4_000_000
"""Images drawn at once, over all resamples: 32 MB for each of the few tables that are needed."""


def hierarchical_bootstrap(
    values: Tensor, victim: Tensor, image: Tensor, resamples: int, level: float, generator: torch.Generator
) -> Interval:
    """BCa interval of the mean over (victim, image) cells.

    Args:
        values: one for each row, `(n,)`: a rate's 0 and 1, a difference of attack and control, …
        victim: which seed's victim, any integers, `(n,)`.
        image: which source image, any integers, `(n,)`; the same number means the same image for every victim.
        resamples: how often to draw; a few thousands.
        level: confidence, in (0, 1).
        generator: on the CPU.

    Raises:
        ValueError: the level is not in (0, 1), a value is NaN, or the images are so few that a resample held none of
            its victims'.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence of {level} has no interval")
    if values.isnan().any():
        raise ValueError(f"{int(values.isnan().sum())} values are NaN: leave those rows out, and say how many")
    total, there = _cells(values, victim, image)
    islands = _islands(there)
    means = []
    for part in torch.arange(resamples).split(max(1, DRAWS_AT_ONCE // there.shape[1])):
        victims = times_drawn(len(part), torch.arange(there.shape[0]), generator)
        images = torch.zeros(len(part), there.shape[1], dtype=torch.float64)
        for island in islands:
            images[:, island] = times_drawn(len(part), island, generator)
        means.append(_mean(total, there, victims, images))
    replicates = torch.cat(means)
    if replicates.isnan().any():
        raise ValueError("too few images for each victim to be resampled")
    everything = [torch.ones(1, count, dtype=torch.float64) for count in there.shape]
    estimate = _mean(total, there, *everything).item()
    left_out = [
        _mean(total, there, victims, images)
        for victims, images in (
            (_all_but_one(there.shape[0]), everything[1]),
            (everything[0], _all_but_one(there.shape[1])),
        )
    ]
    return bca_interval(replicates, estimate, left_out, level)


def bca_interval(replicates: Tensor, estimate: float, left_out: Sequence[Tensor], level: float) -> Interval:
    """The bias-corrected and accelerated interval (Efron 1987; Davison and Hinkley 1997, section 5.3).

    Args:
        replicates: the statistic of each resample, `(B,)`.
        estimate: the statistic of the data.
        left_out: for each sample that was drawn from, the statistic without each of its units, `(units,)`. Of a
            sample of one unit, it is not looked at.
        level: confidence, in (0, 1).
    """
    rounding = 1e-12 * replicates.abs().max()
    below = (replicates < estimate - rounding).double().mean()
    level_with = ((replicates - estimate).abs() <= rounding).double().mean()
    half_a_resample = 0.5 / len(replicates)  # an estimate beyond all resamples has no finite bias
    bias = ndtri((below + level_with / 2).clamp(half_a_resample, 1 - half_a_resample).item())
    acceleration = _acceleration(left_out)

    def quantile(share: float) -> float:
        z = bias + ndtri(share)
        return torch.quantile(replicates.double(), float(ndtr(bias + z / (1 - acceleration * z)))).item()

    return Interval(estimate, quantile((1 - level) / 2), quantile((1 + level) / 2))


def _acceleration(left_out: Sequence[Tensor]) -> float:
    """A sixth of the skewness of the estimate, from the jackknife's influences of the units of every sample."""
    cubes = squares = 0.0
    for statistics in left_out:
        count = len(statistics)
        influence = (count - 1) * (statistics.mean() - statistics) / count
        if count > 1:
            cubes += influence.pow(3).sum().item()
            squares += influence.square().sum().item()
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def _cells(values: Tensor, victim: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the rows of each (victim, image), 0 where there is none, and whether there is one: both `(V, I)`."""
    victims, victim = victim.unique(return_inverse=True)
    images, image = image.unique(return_inverse=True)
    rows, total = torch.zeros(2, len(victims), len(images), dtype=torch.float64)
    rows.index_put_((victim, image), torch.ones(len(values), dtype=torch.float64), accumulate=True)
    total.index_put_((victim, image), values.double(), accumulate=True)
    return total / rows.clamp_min(1), (rows > 0).double()


def _islands(there: Tensor) -> list[Tensor]:
    """Images in groups that have no victim in common, directly or through others: `(size,)` numbers each."""
    victims, images = there.shape
    victim, image = there.numpy().nonzero()
    links = csr_array((np.ones(len(victim)), (victim, victims + image)), shape=(victims + images,) * 2)
    island = torch.from_numpy(connected_components(links, directed=False)[1][victims:])
    return [torch.nonzero(island == number).squeeze(1) for number in island.unique()]


def times_drawn(resamples: int, units: Tensor, generator: torch.Generator) -> Tensor:
    """How often each unit comes in as many draws with replacement as there are units: `(resamples, units)`."""
    draws = torch.randint(len(units), (resamples, len(units)), generator=generator)
    once = torch.ones(draws.shape, dtype=torch.float64)
    return torch.zeros_like(once).scatter_add_(1, draws, once)


def _mean(total: Tensor, there: Tensor, victims: Tensor, images: Tensor) -> Tensor:
    """Mean over cells, each counted as often as its victim `(B, V)` times its image `(B, I)`: `(B,)`."""
    return ((victims @ total) * images).sum(dim=1) / ((victims @ there) * images).sum(dim=1)


def _all_but_one(units: int) -> Tensor:
    return 1 - torch.eye(units, dtype=torch.float64)
