"""Bootstrap intervals: against SciPy, by hand, and their coverage on simulated data."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.metrics.bootstrap import bca_interval, hierarchical_bootstrap

NULLS = 1_000
LEVEL = 0.05


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def skewed(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed).exp()


def crossed(victims: int, images: int) -> tuple[Tensor, Tensor]:
    """Victim and image numbers of rows where every victim was attacked on every image."""
    return torch.arange(victims).repeat_interleave(images), torch.arange(images).repeat(victims)


def assert_nominal_error_rate(errors: int) -> None:
    """The number of errors in `NULLS` simulations is within the binomial 99.9% interval of `LEVEL`."""
    low, high = stats.binom.interval(0.999, NULLS, LEVEL)
    assert low <= errors <= high


def test_bca_interval_of_one_sample_matches_scipy() -> None:
    data = skewed(25)
    theirs = stats.bootstrap((data.numpy(),), lambda x, axis: x.mean(axis=axis), n_resamples=999, rng=1)
    left_out = (data.sum() - data) / 24
    found = bca_interval(torch.from_numpy(theirs.bootstrap_distribution), data.mean().item(), [left_out], 0.95)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=1e-9)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=1e-9)


def test_bca_interval_of_two_samples_matches_scipy() -> None:
    one, other = skewed(20), skewed(30, seed=1)
    theirs = stats.bootstrap(
        (one.numpy(), other.numpy()), lambda x, y, axis: x.mean(axis=axis) * y.mean(axis=axis), n_resamples=999, rng=1
    )
    left_out = [(one.sum() - one) / 19 * other.mean(), one.mean() * (other.sum() - other) / 29]
    estimate = (one.mean() * other.mean()).item()
    found = bca_interval(torch.from_numpy(theirs.bootstrap_distribution), estimate, left_out, 0.95)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=1e-9)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=1e-9)


def test_hierarchical_bootstrap_of_one_victim_matches_scipys_plain_bootstrap() -> None:
    data = skewed(40)
    found = hierarchical_bootstrap(data, torch.zeros(40), torch.arange(40), 20_000, 0.9, generator())
    theirs = stats.bootstrap(
        (data.numpy(),), lambda x, axis: x.mean(axis=axis), confidence_level=0.9, n_resamples=20_000, rng=1
    ).confidence_interval
    assert found.estimate == pytest.approx(data.mean().item(), abs=1e-9)
    assert found.low == pytest.approx(theirs.low, rel=0.02)
    assert found.high == pytest.approx(theirs.high, rel=0.02)


def test_hierarchical_bootstrap_averages_rows_of_one_image() -> None:
    """Nine copies of each row change nothing; nine different rows enter as their mean."""
    data, victim, image = normal(30), torch.zeros(30), torch.arange(30)
    plain = hierarchical_bootstrap(data, victim, image, 500, 0.95, generator())
    copies = hierarchical_bootstrap(data.repeat(9), victim.repeat(9), image.repeat(9), 500, 0.95, generator())
    spread = normal(9, 30, seed=1)
    around = (data + spread - spread.mean(dim=0)).flatten()
    different = hierarchical_bootstrap(around, victim.repeat(9), image.repeat(9), 500, 0.95, generator())
    for other in (copies, different):
        assert (other.estimate, other.low, other.high) == pytest.approx((plain.estimate, plain.low, plain.high))


def test_hierarchical_bootstrap_counts_an_image_shared_by_victims_once() -> None:
    """Four victims with equal values for every image give the same interval as one.

    With images of their own there are four times as many, and drawing victims too takes the variance times 2 − 1/4.
    """
    data = normal(60)
    victim, image = crossed(4, 60)
    one = hierarchical_bootstrap(data, torch.zeros(60), image[:60], 4_000, 0.95, generator())
    shared = hierarchical_bootstrap(data.repeat(4), victim, image, 4_000, 0.95, generator())
    own = hierarchical_bootstrap(data.repeat(4), victim, torch.arange(240), 4_000, 0.95, generator())
    assert shared.estimate == pytest.approx(one.estimate)
    assert shared.high - shared.low == pytest.approx(one.high - one.low, rel=0.05)
    assert own.high - own.low == pytest.approx((1.75 / 4) ** 0.5 * (one.high - one.low), rel=0.05)


def test_hierarchical_bootstrap_without_spread_over_images_matches_bootstrap_over_victims() -> None:
    """Of victims with no spread over images, the interval is the plain bootstrap over victims."""
    offsets = skewed(12)
    victim, image = crossed(12, 50)
    found = hierarchical_bootstrap(offsets[victim], victim, image, 20_000, 0.95, generator())
    theirs = stats.bootstrap(
        (offsets.numpy(),), lambda x, axis: x.mean(axis=axis), n_resamples=20_000, rng=1
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, rel=0.03)
    assert found.high == pytest.approx(theirs.high, rel=0.03)


def test_hierarchical_bootstrap_of_disjoint_images_matches_two_level_loops() -> None:
    """Two-level resampling written as loops; labels are any numbers, rows in any order."""
    sizes = (5, 8, 11, 6)
    rows = [(v, 100 * v + i) for v, size in enumerate(sizes) for i in range(size)]
    victim, image = (torch.tensor(column) for column in zip(*rows, strict=True))
    values = skewed(len(rows)) + victim
    draw, means = generator(1), []
    for _ in range(4_000):
        total, count = 0.0, 0
        drawn = {v: torch.randint(size, (size,), generator=draw) for v, size in enumerate(sizes)}
        for v in torch.randint(4, (4,), generator=draw).tolist():
            total += values[victim == v][drawn[v]].sum().item()
            count += sizes[v]
        means.append(total / count)
    estimate = values.mean().item()
    keep = 1 - torch.eye(len(rows), dtype=torch.float64)
    by_victim = torch.stack([values[victim != v].mean() for v in range(4)])
    expected = bca_interval(torch.tensor(means), estimate, [by_victim, keep @ values / (len(rows) - 1)], 0.9)
    order = torch.randperm(len(rows), generator=draw)
    found = hierarchical_bootstrap(values[order], 7 - victim[order], image[order], 20_000, 0.9, generator())
    assert found.estimate == pytest.approx(estimate)
    assert found.low == pytest.approx(expected.low, rel=0.03)
    assert found.high == pytest.approx(expected.high, rel=0.03)


def test_hierarchical_bootstrap_counts_ties_with_the_estimate_despite_rounding() -> None:
    """Ninths, which binary numbers add with rounding, have a ninth of the interval of the whole numbers."""
    whole = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 1.0, 0.0, 2.0], dtype=torch.float64)
    found = [
        hierarchical_bootstrap(values, torch.zeros(9), torch.arange(9), 2_000, level, generator())
        for values in (whole, whole / 9)
        for level in (0.5, 0.7, 0.8, 0.9)
    ]
    for of_whole, of_ninths in zip(found[:4], found[4:], strict=True):
        assert (of_ninths.low, of_ninths.high) == pytest.approx((of_whole.low / 9, of_whole.high / 9), abs=1e-9)


def test_bca_interval_of_an_estimate_beyond_all_resamples_is_finite() -> None:
    found = bca_interval(torch.arange(1.0, 9.0), 0.5, [skewed(20)], 0.9)
    assert 1 <= found.low <= found.high <= 8


def test_hierarchical_bootstrap_of_constant_values_has_zero_width() -> None:
    victim, image = crossed(3, 20)
    for constant in (1.0, 0.1):
        values = torch.full((60,), constant, dtype=torch.float64)
        found = hierarchical_bootstrap(values, victim, image, 200, 0.95, generator())
        assert (found.estimate, found.low, found.high) == pytest.approx((constant,) * 3, abs=1e-12)
    single = hierarchical_bootstrap(torch.tensor([2.0]), torch.tensor([0]), torch.tensor([0]), 50, 0.95, generator())
    assert (single.estimate, single.low, single.high) == (2.0, 2.0, 2.0)


def test_hierarchical_bootstrap_is_determined_by_the_generator() -> None:
    data, victim, image = normal(40), torch.zeros(40), torch.arange(40)
    found = [hierarchical_bootstrap(data, victim, image, 300, 0.95, generator(seed)) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_hierarchical_bootstrap_refuses_bad_level_and_nan() -> None:
    data, victim, image = normal(10), torch.zeros(10), torch.arange(10)
    with pytest.raises(ValueError, match="confidence of 95"):
        hierarchical_bootstrap(data, victim, image, 100, 95, generator())
    data[3] = torch.nan
    with pytest.raises(ValueError, match="1 values are NaN"):
        hierarchical_bootstrap(data, victim, image, 100, 0.95, generator())


def test_hierarchical_bootstrap_of_one_victim_has_nominal_coverage() -> None:
    """200 skewed images of one victim: the mean of e^(0.4 z) is e^0.08."""
    misses = 0
    data = (0.4 * normal(NULLS, 200)).exp()
    image, draw = torch.arange(200), generator(1)
    for values in data:
        found = hierarchical_bootstrap(values, torch.zeros(200), image, 500, 1 - LEVEL, draw)
        misses += not found.low <= math.exp(0.4**2 / 2) <= found.high
    assert_nominal_error_rate(misses)


def test_hierarchical_bootstrap_of_crossed_victims_and_images_has_nominal_coverage() -> None:
    """30 victims and 30 images with effects of their own, and noise: rows alone would miss most of the time."""
    victim, image = crossed(30, 30)
    data = normal(NULLS, 30, 1) + normal(NULLS, 1, 30, seed=1) + normal(NULLS, 30, 30, seed=2)
    draw, misses, of_rows = generator(3), 0, 0
    for values in data.flatten(1):
        found = hierarchical_bootstrap(values, victim, image, 400, 1 - LEVEL, draw)
        misses += not found.low <= 0 <= found.high
        of_rows += bool(values.mean().abs() > 1.96 * values.std() / 30)
    assert_nominal_error_rate(misses)
    assert of_rows > 0.5 * NULLS
