"""Where does a distribution end, judging by the maxima of samples from it?

Maxima of many draws from a distribution that ends at a follow a reverse Weibull law, if any
(Gnedenko 1943): P(max ≤ m) = exp(−((a − m)/b)^c) for m ≤ a, with b and c positive.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import kstwo
from torch import Tensor

SMALLEST_SHAPE = 1.0
"""Below it the density has no bound at a, and the likelihood would be infinite with a at the largest maximum."""

LARGEST_SHAPE = 1e3
"""Beyond any that data and penalty leave, as its inverse is below; they keep powers finite."""

NEAREST, FARTHEST = 1e-4, 1e4
"""Between them a is looked for: its distance beyond the largest maximum, in ranges of the maxima."""

GRID = 33
FINER, REFINEMENTS = 9, 9
"""Each finer grid of a's distance has a quarter of the width: two parts in a million, in the end."""

NEWTON_STEPS = 8
ROWS = 128
"""Fitted at once: few enough for a processor's cache."""

CONSTANT = 1e-5
"""Maxima that differ by less than this share of the largest are one number, but for rounding."""


@dataclass(frozen=True)
class WeibullFit:
    """Of each row of maxima, all `(F,)`.

    location: a, where the distribution ends; never below the largest maximum.
    scale, shape: b and c.
    distance: Kolmogorov's, the largest difference between the fitted and the empirical distribution function.
    p: of that distance, as if a, b and c had been known before: too large, since they were fitted to the same maxima.
    constant: whether all maxima are one number, which then is a; there is nothing to fit: scale and distance are 0,
        shape is NaN, p is 1.
    """

    location: Tensor
    scale: Tensor
    shape: Tensor
    distance: Tensor
    p: Tensor
    constant: Tensor


def fit_reverse_weibull(maxima: Tensor, shape_penalty: float) -> WeibullFit:
    """Fit a, b and c to each row by maximum likelihood, less `shape_penalty`·c².

    Without a penalty the likelihood of some maxima grows forever as a goes to infinity and c with it (the law turns
    into Gumbel's, which has no end), and an optimiser ends where it is stopped. CLEVER's authors have a penalty too.

    For a given a the best b is known and the best c is the root of a monotone function, so that one number is looked
    for in a range: no first guess, nothing that can wander.

    Args:
        maxima: `(F, B)`, finite, B at least 3.
        shape_penalty: positive; the log-likelihood that a c of 1 costs.

    Raises:
        ValueError: too few maxima, or one that isn't finite.
    """
    if maxima.shape[1] < 3 or not maxima.isfinite().all():
        raise ValueError("a reverse Weibull law has three parameters: three finite maxima are needed at least")
    values = maxima.double().cpu()
    top, bottom = values.amax(dim=1), values.amin(dim=1)
    constant = top - bottom <= CONSTANT * top.abs()
    spread = torch.where(constant, 1.0, top - bottom)
    below = (top[:, None] - values) / spread[:, None]  # in [0, 1]; 0 for the largest
    log_beyond = torch.cat([_best_location(part, shape_penalty) for part in below.split(ROWS)])
    shape = _best_shape(below, log_beyond[:, None], shape_penalty)[0].squeeze(1)
    beyond = log_beyond.exp()
    scale = _power_mean(below + beyond[:, None], shape)
    distance = _kolmogorov((below + beyond[:, None]) / scale[:, None], shape)
    p = torch.from_numpy(kstwo.sf(distance.numpy(), values.shape[1]))
    zero, one = torch.zeros_like(top), torch.ones_like(top)
    return WeibullFit(
        location=torch.where(constant, top, top + spread * beyond),
        scale=torch.where(constant, zero, spread * scale),
        shape=torch.where(constant, math.nan, shape),
        distance=torch.where(constant, zero, distance),
        p=torch.where(constant, one, p),
        constant=constant,
    )


def _best_location(below: Tensor, penalty: float) -> Tensor:
    """The logarithm of a's distance beyond the largest maximum: on a grid, then on finer ones around its best."""
    grid = torch.linspace(math.log(NEAREST), math.log(FARTHEST), GRID, dtype=below.dtype).expand(len(below), GRID)
    for refinement in range(1 + REFINEMENTS):
        best = _best_shape(below, grid, penalty)[1].argmax(dim=1, keepdim=True)
        if refinement < REFINEMENTS:
            low, high = (grid.gather(1, (best + side).clamp(0, grid.shape[1] - 1)) for side in (-1, 1))
            grid = low + (high - low) * torch.linspace(0, 1, FINER, dtype=below.dtype)
    return grid.gather(1, best).squeeze(1)


def _best_shape(below: Tensor, log_beyond: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """For each location the best c and its penalised log-likelihood for each maximum, both `(F, G)`.

    With u = a − m the best b^c is mean(u^c); what is left to maximise is concave in c, so that its derivative has one
    root. Newton's steps are taken for log c and kept in a bracket that they shrink.

    Args:
        below: how far each maximum is below the largest, `(F, B)`.
        log_beyond: logarithms of a's distance beyond the largest, `(F, G)`.
    """
    u = (below[:, None, :] + log_beyond.exp()[:, :, None]).log()  # (F, G, B)
    u = u - u.mean(dim=2, keepdim=True)  # the scale is b's affair
    weight = penalty / below.shape[1]
    low, high = torch.full((2, *log_beyond.shape), math.log(LARGEST_SHAPE), dtype=u.dtype)
    low = -low
    # Without a penalty the logarithm of u would deviate by π/(√6 c); with nothing else c would be (2 weight)^(−1/2).
    first = (math.pi / math.sqrt(6) / u.std(dim=2).clamp(min=1e-12)).clamp(max=(2 * weight) ** -0.5)
    at = first.log().clamp(low, high)
    for _ in range(NEWTON_STEPS):
        c = at.exp()
        powers = torch.softmax(c[:, :, None] * u, dim=2)
        mean = (powers * u).sum(dim=2)
        variance = (powers * u.square()).sum(dim=2) - mean.square()
        slope = 1 - c * mean - 2 * weight * c.square()
        low, high = torch.where(slope > 0, at, low), torch.where(slope > 0, high, at)
        step = at + slope / (c * mean + c.square() * variance + 4 * weight * c.square()).clamp(min=1e-12)
        at = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
    c = at.exp().clamp(min=SMALLEST_SHAPE)
    log_mean_power = torch.logsumexp(c[:, :, None] * u, dim=2) - math.log(u.shape[2])
    logs = (below[:, None, :] + log_beyond.exp()[:, :, None]).log().mean(dim=2)
    return c, c.log() - log_mean_power - logs - 1 - weight * c.square()


def _power_mean(u: Tensor, c: Tensor) -> Tensor:
    """The scale that is the best for a shape: mean(u^c)^(1/c), `(F,)`."""
    return ((torch.logsumexp(c[:, None] * u.log(), dim=1) - math.log(u.shape[1])) / c).exp()


def _kolmogorov(u: Tensor, c: Tensor) -> Tensor:
    """The largest difference between exp(−u^c) and its empirical counterpart, `(F,)`."""
    fitted = torch.exp(-(u.sort(dim=1, descending=True).values ** c[:, None]))  # ascending maxima
    count = u.shape[1]
    steps = torch.arange(count + 1, dtype=u.dtype) / count
    return torch.maximum(steps[1:] - fitted, fitted - steps[:-1]).amax(dim=1)
