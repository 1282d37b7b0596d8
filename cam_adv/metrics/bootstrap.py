"""Confidence intervals of a mean over images, for attacks on victims that were trained from several seeds.

The unit is the source image. A row is one measurement, of one victim, one image and one target. Rows of the same
victim and image are averaged, so that nine targets of an image do not count as nine images. Then victims are drawn
with replacement, images are drawn with replacement, and all targets of a drawn image come with it: drawing those
again would count their spread twice (Davison and Hinkley 1997, section 3.8).

An image on which several victims were attacked is drawn once for all of them, and a (victim, image) cell counts as
often as its victim was drawn times its image was drawn (the pigeonhole bootstrap, Owen 2007, Annals of Applied
Statistics 1). Drawn separately for each victim, an image that is easy for all victims would count as several
independent images, and the interval would be too short. Where victims share no image, images are drawn within their
victim: the usual two-level bootstrap. With one victim this is the plain bootstrap over its images, and does not
generalise to other victims.

How often a 95% interval misses (simulated: normal data, 100 images, 2,000 repetitions): 3 to 5% where the spread
between victims is at most a tenth of the spread between images, under 1% if victims share no image. Where both
spreads are equal: 23% with 3 victims, 15% with 5, 9% with 10, 7% with 30. A few victims are too few to estimate the
spread between victims, and no resampling changes that.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr, ndtri
from torch import Tensor

from cam_adv.metrics.intervals import Interval

DRAWS_AT_ONCE = 4_000_000
"""Images drawn at once, over all resamples: 32 MB for each of the few tables in use."""


def hierarchical_bootstrap(
    values: Tensor, victim: Tensor, image: Tensor, n_resamples: int, level: float, generator: torch.Generator
) -> Interval:
    """BCa interval of the mean over (victim, image) cells.

    Args:
        values: one for each row, `(n,)`: the 0 and 1 of a rate, a difference between attack and control, …
        victim: number of the victim (its seed), any integers, `(n,)`.
        image: number of the source image, any integers, `(n,)`; equal numbers mean the same image for all victims.
        n_resamples: number of resamples; a few thousands.
        level: confidence, in (0, 1).
        generator: on the CPU.

    Raises:
        ValueError: the level is not in (0, 1), a value is NaN, or there are so few images that a resample contained
            no image of its victims.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence of {level} has no interval")
    check_no_nan(values)
    cell_means, present = _cells(values, victim, image)
    components = _connected_images(present)
    means = []
    for chunk in torch.arange(n_resamples).split(max(1, DRAWS_AT_ONCE // present.shape[1])):
        victim_counts = bootstrap_counts(len(chunk), torch.arange(present.shape[0]), generator)
        image_counts = torch.zeros(len(chunk), present.shape[1], dtype=torch.float64)
        for component in components:
            image_counts[:, component] = bootstrap_counts(len(chunk), component, generator)
        means.append(_weighted_mean(cell_means, present, victim_counts, image_counts))
    replicates = torch.cat(means)
    if replicates.isnan().any():
        raise ValueError("too few images for each victim to be resampled")
    each_once = [torch.ones(1, count, dtype=torch.float64) for count in present.shape]
    estimate = _weighted_mean(cell_means, present, *each_once).item()
    left_out = [
        _weighted_mean(cell_means, present, victim_counts, image_counts)
        for victim_counts, image_counts in (
            (_all_but_one(present.shape[0]), each_once[1]),
            (each_once[0], _all_but_one(present.shape[1])),
        )
    ]
    return bca_interval(replicates, estimate, left_out, level)


def check_no_nan(values: Tensor) -> None:
    """Raise ValueError if a value is NaN."""
    if values.isnan().any():
        raise ValueError(f"{int(values.isnan().sum())} values are NaN: leave those rows out, and report their number")


def bca_interval(replicates: Tensor, estimate: float, left_out: Sequence[Tensor], level: float) -> Interval:
    """The bias-corrected and accelerated interval (Efron 1987; Davison and Hinkley 1997, section 5.3).

    Args:
        replicates: the statistic of each resample, `(B,)`.
        estimate: the statistic of the data.
        left_out: for each sample that was resampled, the statistic without each one of its units, `(units,)`. It is
            not used for a sample of one unit.
        level: confidence, in (0, 1).
    """
    rounding = 1e-12 * replicates.abs().max()
    below = (replicates < estimate - rounding).double().mean()
    tied = ((replicates - estimate).abs() <= rounding).double().mean()
    half_a_resample = 0.5 / len(replicates)  # keeps the bias finite for an estimate beyond all resamples
    bias = ndtri((below + tied / 2).clamp(half_a_resample, 1 - half_a_resample).item())
    acceleration = _acceleration(left_out)

    def quantile(probability: float) -> float:
        z = bias + ndtri(probability)
        return torch.quantile(replicates.double(), float(ndtr(bias + z / (1 - acceleration * z)))).item()

    return Interval(estimate, quantile((1 - level) / 2), quantile((1 + level) / 2))


def _acceleration(left_out: Sequence[Tensor]) -> float:
    """A sixth of the skewness of the estimate, from the jackknife influences of the units of every sample."""
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


def _connected_images(present: Tensor) -> list[Tensor]:
    """Groups of images that have no victim in common, directly or through other images: `(size,)` numbers each."""
    victims, images = present.shape
    victim, image = present.numpy().nonzero()
    links = csr_array((np.ones(len(victim)), (victim, victims + image)), shape=(victims + images,) * 2)
    component = torch.from_numpy(connected_components(links, directed=False)[1][victims:])
    return [torch.nonzero(component == number).squeeze(1) for number in component.unique()]


def bootstrap_counts(n_resamples: int, units: Tensor, generator: torch.Generator) -> Tensor:
    """Counts of each unit in as many draws with replacement as there are units: `(n_resamples, units)`."""
    draws = torch.randint(len(units), (n_resamples, len(units)), generator=generator)
    ones = torch.ones(draws.shape, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add_(1, draws, ones)


def _weighted_mean(cell_means: Tensor, present: Tensor, victim_counts: Tensor, image_counts: Tensor) -> Tensor:
    """Mean over cells, each weighted by the count of its victim `(B, V)` times that of its image `(B, I)`: `(B,)`."""
    total = ((victim_counts @ cell_means) * image_counts).sum(dim=1)
    return total / ((victim_counts @ present) * image_counts).sum(dim=1)


def _all_but_one(units: int) -> Tensor:
    return 1 - torch.eye(units, dtype=torch.float64)
