"""The fit of a reverse Weibull distribution: against SciPy, and limiting cases."""

import math

import pytest
import torch
from scipy import optimize, stats

from cam_adv.studies.min_perturbation.weibull import fit_reverse_weibull

PENALTY = 0.1


@pytest.mark.parametrize(("shape", "seed"), [(2.5, 1), (4.0, 2), (8.0, 0)])
def test_fit_without_penalty_equals_scipy_started_at_the_truth(shape: float, seed: int) -> None:
    law = stats.weibull_max(shape, loc=7, scale=0.5)
    maxima = law.rvs(200, random_state=seed)
    c, a, b = stats.weibull_max.fit(maxima, shape, loc=7, scale=0.5)
    fit = fit_reverse_weibull(torch.from_numpy(maxima)[None], 1e-12)
    assert [value.item() for value in (fit.shape, fit.location, fit.scale)] == pytest.approx([c, a, b], rel=2e-3)
    fitted = (fit.shape.item(), fit.location.item(), fit.scale.item())
    assert stats.weibull_max.nnlf(fitted, maxima) <= stats.weibull_max.nnlf((c, a, b), maxima) + 1e-6
    kolmogorov = stats.kstest(maxima, stats.weibull_max(*fitted).cdf)
    assert fit.ks_distance.item() == pytest.approx(kolmogorov.statistic)
    assert fit.p_value.item() == pytest.approx(kolmogorov.pvalue)


def test_fit_is_the_global_optimum_of_the_penalised_likelihood() -> None:
    """No simplex search finds a better one, from many starts with few and many extreme values."""
    for seed in range(4):
        maxima = stats.gumbel_r.rvs(loc=3, scale=0.1, size=20, random_state=seed)
        fit = fit_reverse_weibull(torch.from_numpy(maxima)[None], PENALTY)
        found = [value.item() for value in (fit.shape, fit.location, fit.scale)]

        def cost(parameters: list[float], maxima=maxima) -> float:
            c = parameters[0]
            return stats.weibull_max.nnlf(parameters, maxima) + PENALTY * c**2 if c >= 1 else math.inf

        starts = [found] + [(c, maxima.max() + gap, 2 * gap) for c in (1.5, 4, 12) for gap in (0.05, 0.3, 2)]
        best = min(optimize.minimize(cost, start, method="Nelder-Mead").fun for start in starts)
        assert cost(found) == pytest.approx(best, abs=1e-5)


def test_fit_of_unbounded_distribution_diverges_without_penalty() -> None:
    """Skewed to the right the maxima have no best a: it reaches the end of its range, as SciPy's fit does."""
    maxima = torch.from_numpy(stats.gumbel_r.rvs(size=(1, 400), random_state=0))
    span = maxima.max() - maxima.min()
    assert (fit_reverse_weibull(maxima, 1e-12).location - maxima.max()) / span > 50
    penalised = fit_reverse_weibull(maxima, PENALTY)
    assert 0 < (penalised.location - maxima.max()) / span < 5


def test_fit_of_constant_maxima_is_their_value() -> None:
    fit = fit_reverse_weibull(torch.tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 2.5], [0.0, 0.0, 0.0]]), PENALTY)
    assert fit.constant.tolist() == [True, False, True]
    assert fit.location[0::2].tolist() == [2, 0]
    assert fit.location[1] > 2.5
    assert (fit.scale[0], fit.ks_distance[0], fit.p_value[0]) == (0, 0, 1)
    assert fit.shape[0].isnan()


def test_fit_is_equivariant_and_independent_of_other_rows() -> None:
    maxima = torch.rand(150, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fit = fit_reverse_weibull(maxima, PENALTY)
    scaled = fit_reverse_weibull(5 + 3 * maxima, PENALTY)
    assert torch.allclose(scaled.location, 5 + 3 * fit.location, rtol=1e-6)
    assert torch.allclose(scaled.p_value, fit.p_value, rtol=1e-5)
    alone = fit_reverse_weibull(maxima[140:141], PENALTY)
    assert torch.allclose(alone.location, fit.location[140:141], rtol=1e-12)
    assert (fit.location >= maxima.amax(dim=1)).all()


@pytest.mark.parametrize("maxima", [[[1.0, 2.0]], [[1.0, 2.0, math.nan]], [[1.0, 2.0, math.inf]]])
def test_fit_of_too_few_or_infinite_maxima_raises(maxima: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="three finite maxima"):
        fit_reverse_weibull(torch.tensor(maxima), PENALTY)
