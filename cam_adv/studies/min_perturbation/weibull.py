"""The upper endpoint of a distribution, estimated from the maxima of samples from it.

The maxima of large samples from a distribution with an upper endpoint a follow a reverse Weibull distribution, if any
(Gnedenko 1943): P(max ≤ m) = exp(−((a − m)/b)^c) for m ≤ a, with b and c positive.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import kstwo
from torch import Tensor

SMALLEST_SHAPE = 1.0
"""For smaller c the density is unbounded at a, and the likelihood would be infinite with a at the largest maximum."""

LARGEST_SHAPE = 1e3
"""Larger than any c that data and penalty allow, as is its inverse smaller; these limits keep powers finite."""

MIN_EXCESS, MAX_EXCESS = 1e-4, 1e4
"""The range of a that is searched: its excess over the largest maximum, as a multiple of the range of the maxima."""

GRID_SIZE = 33
REFINED_GRID_SIZE, REFINEMENTS = 9, 9
"""Each refined grid of a's excess has a quarter of the width: the final relative resolution is two in a million."""

NEWTON_STEPS = 8
ROWS_PER_FIT = 128
"""Fitted at once: few enough for a processor's cache."""

CONSTANT = 1e-5
"""Maxima that differ by less than this share of the largest are considered equal up to rounding."""


@dataclass(frozen=True)
class WeibullFit:
    """The fit to each row of maxima, all `(F,)`.

    location: a, the upper endpoint; never below the largest maximum.
    scale, shape: b and c.
    ks_distance: Kolmogorov–Smirnov distance, the largest difference of the fitted and the empirical distribution
        function.
    p_value: of that distance, as if a, b and c had not been fitted to the same maxima: it is too large.
    constant: whether all maxima are equal; then their value is a, and there is nothing to fit: scale and distance are
        0, shape is NaN, the p-value is 1.
    """

    location: Tensor
    scale: Tensor
    shape: Tensor
    ks_distance: Tensor
    p_value: Tensor
    constant: Tensor


def fit_reverse_weibull(maxima: Tensor, shape_penalty: float) -> WeibullFit:
    """Fit a, b and c to each row by maximum likelihood, penalised by `shape_penalty`·c².

    Without a penalty the likelihood of some maxima increases without limit as a and c go to infinity (the
    distribution approaches Gumbel's, which has no endpoint), and an optimiser ends wherever it is stopped. The
    authors of CLEVER use a penalty too.

    For a given a the best b has a closed form and the best c is the root of a monotone function, so that a
    one-dimensional search for a remains: it needs no initial guess and cannot diverge.

    Args:
        maxima: `(F, B)`, finite, B at least 3.
        shape_penalty: positive; subtracted from the log-likelihood for c = 1.

    Raises:
        ValueError: there are fewer than three maxima, or one is not finite.
    """
    if maxima.shape[1] < 3 or not maxima.isfinite().all():
        raise ValueError(
            "a reverse Weibull distribution has three parameters: three finite maxima are needed at least"
        )
    values = maxima.double().cpu()
    top, bottom = values.amax(dim=1), values.amin(dim=1)
    constant = top - bottom <= CONSTANT * top.abs()
    spread = torch.where(constant, 1.0, top - bottom)
    below = (top[:, None] - values) / spread[:, None]  # in [0, 1]; 0 for the largest
    log_excess = torch.cat([_best_location(rows, shape_penalty) for rows in below.split(ROWS_PER_FIT)])
    shape = _best_shape(below, log_excess[:, None], shape_penalty)[0].squeeze(1)
    excess = log_excess.exp()
    scale = _power_mean(below + excess[:, None], shape)
    ks_distance = _ks_distance((below + excess[:, None]) / scale[:, None], shape)
    p_value = torch.from_numpy(kstwo.sf(ks_distance.numpy(), values.shape[1]))
    zero, one = torch.zeros_like(top), torch.ones_like(top)
    return WeibullFit(
        location=torch.where(constant, top, top + spread * excess),
        scale=torch.where(constant, zero, spread * scale),
        shape=torch.where(constant, math.nan, shape),
        ks_distance=torch.where(constant, zero, ks_distance),
        p_value=torch.where(constant, one, p_value),
        constant=constant,
    )


def _best_location(below: Tensor, penalty: float) -> Tensor:
    """The logarithm of a's excess over the largest maximum: the best on a grid, which is refined around it."""
    size = (len(below), GRID_SIZE)
    grid = torch.linspace(math.log(MIN_EXCESS), math.log(MAX_EXCESS), GRID_SIZE, dtype=below.dtype).expand(size)
    for refinement in range(1 + REFINEMENTS):
        best = _best_shape(below, grid, penalty)[1].argmax(dim=1, keepdim=True)
        if refinement < REFINEMENTS:
            low, high = (grid.gather(1, (best + side).clamp(0, grid.shape[1] - 1)) for side in (-1, 1))
            grid = low + (high - low) * torch.linspace(0, 1, REFINED_GRID_SIZE, dtype=below.dtype)
    return grid.gather(1, best).squeeze(1)


def _best_shape(below: Tensor, log_excess: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """For each location the best c, and its penalised log-likelihood divided by the number of maxima, both `(F, G)`.

    With u = a − m the best b^c is mean(u^c); the remaining objective is concave in c, so that its derivative has one
    root. Newton's method is applied to log c, safeguarded by a bracket that shrinks with every step.

    Args:
        below: distance of each maximum to the largest, `(F, B)`.
        log_excess: logarithms of a's excess over the largest, `(F, G)`.
    """
    u = (below[:, None, :] + log_excess.exp()[:, :, None]).log()  # (F, G, B)
    u = u - u.mean(dim=2, keepdim=True)  # the scale does not influence c
    weight = penalty / below.shape[1]
    low, high = torch.full((2, *log_excess.shape), math.log(LARGEST_SHAPE), dtype=u.dtype)
    low = -low
    # Without a penalty the logarithm of u has the standard deviation π/(√6 c); without data c is (2 weight)^(−1/2).
    initial = (math.pi / math.sqrt(6) / u.std(dim=2).clamp(min=1e-12)).clamp(max=(2 * weight) ** -0.5)
    log_c = initial.log().clamp(low, high)
    for _ in range(NEWTON_STEPS):
        c = log_c.exp()
        powers = torch.softmax(c[:, :, None] * u, dim=2)
        mean = (powers * u).sum(dim=2)
        variance = (powers * u.square()).sum(dim=2) - mean.square()
        slope = 1 - c * mean - 2 * weight * c.square()
        low, high = torch.where(slope > 0, log_c, low), torch.where(slope > 0, high, log_c)
        step = log_c + slope / (c * mean + c.square() * variance + 4 * weight * c.square()).clamp(min=1e-12)
        log_c = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
    c = log_c.exp().clamp(min=SMALLEST_SHAPE)
    log_mean_power = torch.logsumexp(c[:, :, None] * u, dim=2) - math.log(u.shape[2])
    logs = (below[:, None, :] + log_excess.exp()[:, :, None]).log().mean(dim=2)
    return c, c.log() - log_mean_power - logs - 1 - weight * c.square()


def _power_mean(u: Tensor, c: Tensor) -> Tensor:
    """The best scale for a shape: mean(u^c)^(1/c), `(F,)`."""
    return ((torch.logsumexp(c[:, None] * u.log(), dim=1) - math.log(u.shape[1])) / c).exp()


def _ks_distance(u: Tensor, c: Tensor) -> Tensor:
    """The largest difference between exp(−u^c) and its empirical counterpart, `(F,)`."""
    fitted = torch.exp(-(u.sort(dim=1, descending=True).values ** c[:, None]))  # ascending maxima
    count = u.shape[1]
    steps = torch.arange(count + 1, dtype=u.dtype) / count
    return torch.maximum(steps[1:] - fitted, fitted - steps[:-1]).amax(dim=1)
