"""Significance tests: against SciPy, by hand, and their error rates on simulated data."""

import itertools

import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.metrics.significance import equivalence_test, holm, image_means, sign_flip_test

NULLS = 1_000
LEVEL = 0.05


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def assert_nominal_error_rate(errors: int) -> None:
    """The number of errors in `NULLS` simulations is within the binomial 99.9% interval of `LEVEL`."""
    low, high = stats.binom.interval(0.999, NULLS, LEVEL)
    assert low <= errors <= high


def test_sign_flip_test_matches_scipys_exact_permutation_test() -> None:
    for shift in (0.0, 0.5, 1.0):
        data = normal(10) + shift
        theirs = stats.permutation_test(
            (data.numpy(),), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=2**10
        )
        assert sign_flip_test(data, torch.arange(10), 2**10, generator()) == pytest.approx(theirs.pvalue, abs=1e-9)


def test_sign_flip_test_by_hand() -> None:
    """1, 2, 3 and −4: of the 16 sums of ±1 ±2 ±3 ±4, 14 are at least |1+2+3−4| = 2 from 0 (two are 0)."""
    sums = [sum(signs) for signs in itertools.product((1, -1), (2, -2), (3, -3), (4, -4))]
    assert sum(abs(total) >= 2 for total in sums) == 14
    data = torch.tensor([1.0, 2.0, 3.0, -4.0])
    assert sign_flip_test(data, torch.arange(4), 16, generator()) == 14 / 16
    assert sign_flip_test(torch.ones(5), torch.arange(5), 32, generator()) == 2 / 32
    assert sign_flip_test(torch.zeros(5), torch.arange(5), 32, generator()) == 1.0


def test_sign_flip_test_with_drawn_signs_approximates_exact_p_and_is_positive() -> None:
    data, image = normal(16) + 0.5, torch.arange(16)
    exact = sign_flip_test(data, image, 2**16, generator())
    drawn = sign_flip_test(data, image, 20_000, generator())
    assert drawn == pytest.approx(exact, abs=4 * (exact / 20_000) ** 0.5)
    assert sign_flip_test(torch.ones(60), torch.arange(60), 999, generator()) == 1 / 1000


def test_significance_tests_average_rows_of_one_image() -> None:
    """Copies of a row are no more evidence than the row."""
    data, image = normal(9) + 0.6, torch.arange(9)
    once = sign_flip_test(data, image, 512, generator())
    assert sign_flip_test(data.repeat(20), image.repeat(20), 512, generator()) == once
    assert equivalence_test(data.repeat(20), image.repeat(20), 2.0) == equivalence_test(data, image, 2.0)
    uneven = torch.tensor([1.0, 3.0, 5.0])
    assert image_means(uneven, torch.tensor([8, 2, 8])).tolist() == [3.0, 3.0]


def test_equivalence_test_matches_t_statistics_by_hand() -> None:
    """Two t statistics by hand: (mean ± margin) / (s / √n), n − 1 degrees of freedom."""
    data = 0.3 * normal(12) + 0.1
    error = data.std().item() / 12**0.5
    lower, upper = (data.mean().item() + 0.5) / error, (data.mean().item() - 0.5) / error
    expected = max(stats.t.sf(lower, 11), stats.t.cdf(upper, 11))
    assert equivalence_test(data, torch.arange(12), 0.5) == pytest.approx(expected, abs=1e-12)
    assert equivalence_test(data, torch.arange(12), 0.5) == equivalence_test(-data, torch.arange(12), 0.5)
    assert equivalence_test(data, torch.arange(12), 0.5) < LEVEL < equivalence_test(data + 0.5, torch.arange(12), 0.5)
    with pytest.raises(ValueError, match="margin of 0"):
        equivalence_test(data, torch.arange(12), 0)
    with pytest.raises(ValueError, match="one image"):
        equivalence_test(data, torch.zeros(12), 0.5)


def test_significance_tests_refuse_nan() -> None:
    data, image = normal(10), torch.arange(10)
    data[3] = torch.nan
    with pytest.raises(ValueError, match="1 values are NaN"):
        sign_flip_test(data, image, 100, generator())
    with pytest.raises(ValueError, match="1 values are NaN"):
        equivalence_test(data, image, 1.0)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and no smaller than those before, 0.06."""
    p_values = torch.tensor([0.04, 0.01, 0.03, 0.02], dtype=torch.float64)
    assert holm(p_values).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(torch.tensor([0.5, 0.9, 0.7])).tolist() == [1.0, 1.0, 1.0]
    assert holm(torch.tensor([0.03])).tolist() == pytest.approx([0.03])


def test_sign_flip_test_has_nominal_false_positive_rate() -> None:
    """30 images of three rows that share their image's effect; heavy tails."""
    effects = stats.t(3).rvs((NULLS, 30), random_state=0)
    data = torch.from_numpy(effects).repeat(1, 3) + normal(NULLS, 90)
    image, draw = torch.arange(30).repeat(3), generator(1)
    assert_nominal_error_rate(sum(sign_flip_test(values, image, 499, draw) <= LEVEL for values in data))


def test_holm_has_nominal_family_wise_error_rate() -> None:
    """Any false alarm among eight questions; uncorrected there would be one in a third of the studies."""
    p_values = torch.rand(NULLS, 8, generator=generator(), dtype=torch.float64)
    assert_nominal_error_rate(sum(bool((holm(row) <= LEVEL).any()) for row in p_values))
    assert ((p_values <= LEVEL).any(dim=1).double().mean()) > 0.3


@pytest.mark.parametrize("side", [1, -1])
def test_equivalence_test_at_the_margin_has_nominal_false_positive_rate(side: int) -> None:
    """The true difference is the margin itself, on either side: the worst case."""
    data = normal(NULLS, 40, seed=2 + side) + side
    image = torch.arange(40)
    assert_nominal_error_rate(sum(equivalence_test(values, image, 1.0) <= LEVEL for values in data))
