"""The mean of victims × images: by hand, against a t-test, and how often its interval misses."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from scipy.stats import ttest_1samp
from torch import Tensor

from cam_adv.metrics.crossed_effects import crossed_mean

ROOT = math.sqrt(0.5)


def test_crossed_mean_by_hand() -> None:
    """With two images of ±√½, the table of two victims and four images has sums of squares 1/2, 1/2 + 2 and 1/2."""
    found = crossed_mean(torch.tensor([[-1.0, 0.0], [0.0, 0.0]]))
    table = np.array([[-1, 0, ROOT, -ROOT], [0, 0, ROOT, -ROOT]])
    mean = table.mean()
    by_victim = 4 * ((table.mean(axis=1) - mean) ** 2).sum()
    by_image = 2 * ((table.mean(axis=0) - mean) ** 2).sum() / 3
    left = (((table - mean) ** 2).sum() - by_victim - 3 * by_image) / 3
    assert (by_victim, by_image, left) == pytest.approx((1 / 8, 19 / 24, 1 / 8))
    assert (found.mean, found.centre) == (-0.25, -0.125)
    spread = 1 / 8 + 19 / 24 - 1 / 8
    assert found.error == pytest.approx(math.sqrt(spread / 8))
    assert found.df == 3  # (19/24)² / (1/8)² is more than the images allow


def test_one_victim_gives_the_t_test_over_images() -> None:
    values = torch.tensor([[-1.0, 0, 0, 1, -1, -1, 0, 0]])
    oracle = ttest_1samp([*values[0].tolist(), ROOT, -ROOT], -0.1)
    found = crossed_mean(values)
    assert found.p_value(-0.1) == pytest.approx(oracle.pvalue)
    interval, expected = found.interval(0.9), oracle.confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_equal_values_have_an_interval() -> None:
    """100 images without any change: the error is that of one change in both directions, and of a single outcome."""
    found = crossed_mean(torch.zeros(5, 100))
    assert found.error == pytest.approx(math.sqrt((5 / 101 + 1 / 510) / 510))
    assert found.interval(0.95).high == pytest.approx(student.ppf(0.975, 101) * found.error)


def test_victims_that_differ_widen_the_interval_to_their_degrees_of_freedom() -> None:
    """Each victim changes on all images or on none."""
    values = torch.zeros(5, 200)
    values[:2] = -1
    found = crossed_mean(values)
    assert found.df == pytest.approx(4, abs=0.2)
    assert found.interval(0.95).high > 0


def changes(victims: int, images: int, victim_spread: float, seed: int) -> Tensor:
    """-1, 0 or 1 for each victim and image; -0.1 in the mean over all victims and images there could be.

    An attack succeeds on half of the images of a plain victim, and less often on those of a trained one, by a share
    that differs between victims, and more so on images that are hard for all.
    """
    generator = torch.Generator().manual_seed(seed)
    hardness = torch.rand(images, generator=generator)
    shift = -0.1 + victim_spread * (2 * torch.rand(victims, 1, generator=generator) - 1)
    before = torch.rand(victims, images, generator=generator) < 0.25 + hardness / 2
    after = torch.rand(victims, images, generator=generator) < 0.25 + hardness / 2 + shift
    return after.double() - before.double()


@pytest.mark.parametrize("victim_spread", [0.0, 0.1])
def test_margin_is_rejected_no_more_often_than_its_level(victim_spread: float) -> None:
    """The mean is the margin in 1,000 tables: about 5% of the tests reject it, less than two standard errors more."""
    means = [crossed_mean(changes(5, 80, victim_spread, seed)) for seed in range(1000)]
    rejected = sum(mean.p_value(-0.1) <= 0.05 for mean in means) / 1000
    assert 0.02 <= rejected <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_effect_of_a_quarter_is_found() -> None:
    """Power: a fall by 0.35, which is 0.25 beyond the margin, is found in nearly every table of 5 victims."""
    found = [crossed_mean(changes(5, 80, 0.05, seed) - 0.25) for seed in range(200)]
    assert sum(mean.interval(0.95).high < -0.1 for mean in found) >= 190
