"""Intervals and tests: against scipy, by hand, and how often they err on data made to have a known answer."""

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.evaluation.bootstrap import bca_interval, hierarchical_bootstrap
from cam_adv.evaluation.significance import equivalence_test, holm, image_means, sign_flip_test

NULLS = 1_000
LEVEL = 0.05


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def skewed(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed).exp()


def crossed(victims: int, images: int) -> tuple[Tensor, Tensor]:
    """Every victim was attacked on every image."""
    return torch.arange(victims).repeat_interleave(images), torch.arange(images).repeat(victims)


def assert_false_alarms(count: int) -> None:
    """As many as the level allows: within the binomial's 99.9% interval."""
    low, high = stats.binom.interval(0.999, NULLS, LEVEL)
    assert low <= count <= high


# The bootstrap


def test_bca_agrees_with_scipy_on_the_same_resamples() -> None:
    data = skewed(25)
    theirs = stats.bootstrap((data.numpy(),), lambda x, axis: x.mean(axis=axis), n_resamples=999, rng=1)
    left_out = (data.sum() - data) / 24
    found = bca_interval(torch.from_numpy(theirs.bootstrap_distribution), data.mean().item(), [left_out], 0.95)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=1e-9)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=1e-9)


def test_bca_of_two_samples_agrees_with_scipy() -> None:
    one, other = skewed(20), skewed(30, seed=1)
    theirs = stats.bootstrap(
        (one.numpy(), other.numpy()), lambda x, y, axis: x.mean(axis=axis) * y.mean(axis=axis), n_resamples=999, rng=1
    )
    left_out = [(one.sum() - one) / 19 * other.mean(), one.mean() * (other.sum() - other) / 29]
    estimate = (one.mean() * other.mean()).item()
    found = bca_interval(torch.from_numpy(theirs.bootstrap_distribution), estimate, left_out, 0.95)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=1e-9)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=1e-9)


def test_one_victim_and_one_target_are_the_plain_bootstrap_over_images() -> None:
    data = skewed(40)
    found = hierarchical_bootstrap(data, torch.zeros(40), torch.arange(40), 20_000, 0.9, generator())
    theirs = stats.bootstrap(
        (data.numpy(),), lambda x, axis: x.mean(axis=axis), confidence_level=0.9, n_resamples=20_000, rng=1
    ).confidence_interval
    assert found.estimate == pytest.approx(data.mean().item(), abs=1e-9)
    assert found.low == pytest.approx(theirs.low, rel=0.02)
    assert found.high == pytest.approx(theirs.high, rel=0.02)


def test_targets_of_an_image_count_as_one_image() -> None:
    """Nine copies of each row change nothing; nine different rows enter as their mean."""
    data, victim, image = normal(30), torch.zeros(30), torch.arange(30)
    plain = hierarchical_bootstrap(data, victim, image, 500, 0.95, generator())
    copies = hierarchical_bootstrap(data.repeat(9), victim.repeat(9), image.repeat(9), 500, 0.95, generator())
    spread = normal(9, 30, seed=1)
    around = (data + spread - spread.mean(dim=0)).flatten()
    different = hierarchical_bootstrap(around, victim.repeat(9), image.repeat(9), 500, 0.95, generator())
    for other in (copies, different):
        assert (other.estimate, other.low, other.high) == pytest.approx((plain.estimate, plain.low, plain.high))


def test_an_image_that_several_victims_share_is_one_image() -> None:
    """Four victims that agree on every image say no more than one.

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


def test_victims_that_differ_widen_the_interval() -> None:
    """Of victims with no spread over images, the interval is the plain bootstrap over victims."""
    offsets = skewed(12)
    victim, image = crossed(12, 50)
    found = hierarchical_bootstrap(offsets[victim], victim, image, 20_000, 0.95, generator())
    theirs = stats.bootstrap(
        (offsets.numpy(),), lambda x, axis: x.mean(axis=axis), n_resamples=20_000, rng=1
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, rel=0.03)
    assert found.high == pytest.approx(theirs.high, rel=0.03)


def test_victims_with_images_of_their_own_by_brute_force() -> None:
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


def test_resamples_that_tie_with_the_estimate_are_seen_through_rounding() -> None:
    """Ninths, which binary numbers add with rounding, have a ninth of the interval of the whole numbers."""
    whole = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 1.0, 0.0, 2.0], dtype=torch.float64)
    found = [
        hierarchical_bootstrap(values, torch.zeros(9), torch.arange(9), 2_000, level, generator())
        for values in (whole, whole / 9)
        for level in (0.5, 0.7, 0.8, 0.9)
    ]
    for of_whole, of_ninths in zip(found[:4], found[4:], strict=True):
        assert (of_ninths.low, of_ninths.high) == pytest.approx((of_whole.low / 9, of_whole.high / 9), abs=1e-9)


def test_an_estimate_beyond_all_resamples_has_an_interval_still() -> None:
    found = bca_interval(torch.arange(1.0, 9.0), 0.5, [skewed(20)], 0.9)
    assert 1 <= found.low <= found.high <= 8


def test_without_any_spread_the_interval_is_a_point() -> None:
    victim, image = crossed(3, 20)
    for constant in (1.0, 0.1):
        values = torch.full((60,), constant, dtype=torch.float64)
        found = hierarchical_bootstrap(values, victim, image, 200, 0.95, generator())
        assert (found.estimate, found.low, found.high) == pytest.approx((constant,) * 3, abs=1e-12)
    single = hierarchical_bootstrap(torch.tensor([2.0]), torch.tensor([0]), torch.tensor([0]), 50, 0.95, generator())
    assert (single.estimate, single.low, single.high) == (2.0, 2.0, 2.0)


def test_the_generator_decides() -> None:
    data, victim, image = normal(40), torch.zeros(40), torch.arange(40)
    found = [hierarchical_bootstrap(data, victim, image, 300, 0.95, generator(seed)) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_what_cannot_be_resampled_is_refused() -> None:
    data, victim, image = normal(10), torch.zeros(10), torch.arange(10)
    with pytest.raises(ValueError, match="confidence of 95"):
        hierarchical_bootstrap(data, victim, image, 100, 95, generator())
    data[3] = torch.nan
    for refused in (
        lambda: hierarchical_bootstrap(data, victim, image, 100, 0.95, generator()),
        lambda: sign_flip_test(data, image, 100, generator()),
        lambda: equivalence_test(data, image, 1.0),
    ):
        with pytest.raises(ValueError, match="1 values are NaN"):
            refused()


# Tests of differences


def test_sign_flips_agree_with_scipys_exact_permutation_test() -> None:
    for shift in (0.0, 0.5, 1.0):
        data = normal(10) + shift
        theirs = stats.permutation_test(
            (data.numpy(),), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=2**10
        )
        assert sign_flip_test(data, torch.arange(10), 2**10, generator()) == pytest.approx(theirs.pvalue, abs=1e-9)


def test_sign_flips_by_hand() -> None:
    """1, 2, 3 and −4: of the 16 sums of ±1 ±2 ±3 ±4, 14 are at least |1+2+3−4| = 2 from 0 (two are 0)."""
    sums = [sum(signs) for signs in itertools.product((1, -1), (2, -2), (3, -3), (4, -4))]
    assert sum(abs(total) >= 2 for total in sums) == 14
    data = torch.tensor([1.0, 2.0, 3.0, -4.0])
    assert sign_flip_test(data, torch.arange(4), 16, generator()) == 14 / 16
    assert sign_flip_test(torch.ones(5), torch.arange(5), 32, generator()) == 2 / 32
    assert sign_flip_test(torch.zeros(5), torch.arange(5), 32, generator()) == 1.0


def test_drawn_sign_flips_come_near_the_exact_ones_and_are_never_zero() -> None:
    data, image = normal(16) + 0.5, torch.arange(16)
    exact = sign_flip_test(data, image, 2**16, generator())
    drawn = sign_flip_test(data, image, 20_000, generator())
    assert drawn == pytest.approx(exact, abs=4 * (exact / 20_000) ** 0.5)
    assert sign_flip_test(torch.ones(60), torch.arange(60), 999, generator()) == 1 / 1000


def test_rows_of_an_image_flip_together() -> None:
    """Copies of a row are no more evidence than the row."""
    data, image = normal(9) + 0.6, torch.arange(9)
    once = sign_flip_test(data, image, 512, generator())
    assert sign_flip_test(data.repeat(20), image.repeat(20), 512, generator()) == once
    assert equivalence_test(data.repeat(20), image.repeat(20), 2.0) == equivalence_test(data, image, 2.0)
    uneven = torch.tensor([1.0, 3.0, 5.0])
    assert image_means(uneven, torch.tensor([8, 2, 8])).tolist() == [3.0, 3.0]


def test_equivalence_by_the_formula() -> None:
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


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and no smaller than those before, 0.06."""
    p_values = torch.tensor([0.04, 0.01, 0.03, 0.02], dtype=torch.float64)
    assert holm(p_values).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(torch.tensor([0.5, 0.9, 0.7])).tolist() == [1.0, 1.0, 1.0]
    assert holm(torch.tensor([0.03])).tolist() == pytest.approx([0.03])


# How often they err


def test_the_intervals_miss_as_often_as_they_say() -> None:
    """200 skewed images of one victim: the mean of e^(0.4 z) is e^0.08."""
    misses = 0
    data = (0.4 * normal(NULLS, 200)).exp()
    image, draw = torch.arange(200), generator(1)
    for values in data:
        found = hierarchical_bootstrap(values, torch.zeros(200), image, 500, 1 - LEVEL, draw)
        misses += not found.low <= math.exp(0.4**2 / 2) <= found.high
    assert_false_alarms(misses)


def test_the_intervals_of_crossed_victims_and_images_miss_as_often_as_they_say() -> None:
    """30 victims and 30 images with effects of their own, and noise: rows alone would miss most of the time."""
    victim, image = crossed(30, 30)
    data = normal(NULLS, 30, 1) + normal(NULLS, 1, 30, seed=1) + normal(NULLS, 30, 30, seed=2)
    draw, misses, of_rows = generator(3), 0, 0
    for values in data.flatten(1):
        found = hierarchical_bootstrap(values, victim, image, 400, 1 - LEVEL, draw)
        misses += not found.low <= 0 <= found.high
        of_rows += bool(values.mean().abs() > 1.96 * values.std() / 30)
    assert_false_alarms(misses)
    assert of_rows > 0.5 * NULLS


def test_sign_flips_raise_as_many_false_alarms_as_allowed() -> None:
    """30 images of three rows that share their image's effect; heavy tails."""
    effects = stats.t(3).rvs((NULLS, 30), random_state=0)
    data = torch.from_numpy(effects).repeat(1, 3) + normal(NULLS, 90)
    image, draw = torch.arange(30).repeat(3), generator(1)
    assert_false_alarms(sum(sign_flip_test(values, image, 499, draw) <= LEVEL for values in data))


def test_holm_raises_as_many_false_alarms_as_allowed() -> None:
    """Any false alarm among eight questions; uncorrected there would be one in a third of the studies."""
    p_values = torch.rand(NULLS, 8, generator=generator(), dtype=torch.float64)
    assert_false_alarms(sum(bool((holm(row) <= LEVEL).any()) for row in p_values))
    assert ((p_values <= LEVEL).any(dim=1).double().mean()) > 0.3


@pytest.mark.parametrize("side", [1, -1])
def test_equivalence_is_found_as_seldom_as_allowed_where_there_is_none(side: int) -> None:
    """The true difference is the margin itself, on either side: the worst case."""
    data = normal(NULLS, 40, seed=2 + side) + side
    image = torch.arange(40)
    assert_false_alarms(sum(equivalence_test(values, image, 1.0) <= LEVEL for values in data))
