"""The crossed mean against SciPy, the analysis of variance and simulations; Holm's correction."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.metrics.significance import CrossedMean, crossed_mean, holm

NULLS = 1_000
LEVEL = 0.05


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def full_table(victims: int, images: int) -> tuple[Tensor, Tensor]:
    """Victim and image of each row, every victim on every image."""
    return torch.arange(victims).repeat_interleave(images), torch.arange(images).repeat(victims)


def test_crossed_mean_of_one_victim_is_the_t_test_of_scipy() -> None:
    data, image = 0.3 * normal(12) + 0.1, torch.arange(12)
    found = crossed_mean(data, torch.zeros(12), image, image)
    p_above, p_below = found.p_values(0.2)
    assert p_above == pytest.approx(stats.ttest_1samp(data.numpy(), 0.2, alternative="greater").pvalue, abs=1e-12)
    assert p_below == pytest.approx(1 - p_above, abs=1e-12)
    interval, expected = found.interval(0.9), stats.ttest_1samp(data.numpy(), 0).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_crossed_mean_of_one_victim_by_hand() -> None:
    """Means 1, 2, 3 and 6 of four images in clusters {1, 2}, {3} and {6}: residuals −3, 0 and 3 from the mean 3."""
    data, image = torch.tensor([1.0, 2.0, 3.0, 5.0, 7.0]), torch.tensor([4, 5, 6, 7, 7])
    found = crossed_mean(data, torch.zeros(5), image, torch.tensor([1, 1, 0, 2, 2]))
    assert found.error == pytest.approx((3 / 2 * (9 + 0 + 9)) ** 0.5 / 4)
    assert (found.mean, found.freedom) == (3, 2)


def test_crossed_mean_of_a_full_table_is_the_analysis_of_variance() -> None:
    """The variance is (mean square of victims + that of images − that of all cells) / n."""
    victims, images = 4, 30
    table = normal(victims, images) + normal(victims, 1, seed=1) + normal(images, seed=2)
    victim, image = full_table(victims, images)
    found = crossed_mean(table.flatten(), victim, image, image)
    grand = table.mean()
    by_victim = images * (table.mean(dim=1) - grand).square().sum() / (victims - 1)
    by_image = victims * (table.mean(dim=0) - grand).square().sum() / (images - 1)
    cells = (table - grand).square().sum() / (victims * images - 1)
    count = victims * images
    variance = (by_victim + by_image - cells) / count
    assert by_victim > cells < by_image  # else the larger of the two would count
    assert found.mean == pytest.approx(grand.item())
    assert found.error**2 == pytest.approx(variance.item(), rel=1e-9)
    freedom = variance**2 / ((by_victim / count) ** 2 / (victims - 1) + (by_image / count) ** 2 / (images - 1))
    assert found.freedom == pytest.approx(freedom.item())


def test_crossed_mean_averages_targets_and_ignores_the_order_of_rows() -> None:
    victim, image = full_table(3, 9)
    data, order = normal(27), torch.randperm(27, generator=torch.Generator().manual_seed(1))
    expected = crossed_mean(data, victim, image, image)
    copies = crossed_mean(data.repeat(5), victim.repeat(5), image.repeat(5), image.repeat(5))
    assert vars(copies) == pytest.approx(vars(expected))
    assert vars(crossed_mean(data[order], victim[order], image[order], image[order])) == pytest.approx(vars(expected))


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, (0, 1)), (1.5, (1, 0)), (1.0, (1, 1))])
def test_crossed_mean_without_spread(threshold: float, expected: tuple[int, int]) -> None:
    victim, image = full_table(2, 5)
    assert crossed_mean(torch.ones(10), victim, image, image).p_values(threshold) == expected


def test_crossed_mean_refuses_nan_and_one_cluster() -> None:
    data, image = normal(10), torch.arange(10)
    with pytest.raises(ValueError, match="one cluster"):
        crossed_mean(data, torch.zeros(10), image, torch.zeros(10))
    data[3] = torch.nan
    with pytest.raises(ValueError, match="1 values are NaN"):
        crossed_mean(data, torch.zeros(10), image, image)


@pytest.mark.parametrize("victim_sd", [0.0, 0.3, 2.0])
def test_crossed_mean_at_the_threshold_is_rarely_wrong(victim_sd: float) -> None:
    """400 studies of 5 victims and 30 images, with equal spreads of images and of the rest, heavy tails of images.

    As if victims were the only ones there are, the test would be wrong far more often where they differ.
    """
    victim, image = full_table(5, 30)
    images = torch.from_numpy(stats.t(5).rvs((400, 1, 30), random_state=0))
    data = (images + victim_sd * normal(400, 5, 1, seed=1) + normal(400, 5, 30, seed=2)).flatten(1)
    p_values = torch.tensor([crossed_mean(values, victim, image, image).p_values(0.0) for values in data])
    allowed = stats.binom.ppf(0.999, len(data), LEVEL)
    assert (p_values <= LEVEL).sum(dim=0).max() <= allowed
    if victim_sd == 2:
        fixed = [crossed_mean(values, torch.zeros(150), image, image).p_values(0.0)[0] for values in data]
        assert sum(p <= LEVEL for p in fixed) > 3 * allowed


def test_crossed_mean_interval_has_the_two_sided_level() -> None:
    found = CrossedMean(0.4, 0.1, 7.0)
    interval = found.interval(0.95)
    assert found.p_values(interval.low)[0] == pytest.approx(0.025)
    assert found.p_values(interval.high)[1] == pytest.approx(0.025)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and no smaller than those before, 0.06."""
    p_values = torch.tensor([0.04, 0.01, 0.03, 0.02], dtype=torch.float64)
    assert holm(p_values).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(torch.tensor([0.5, 0.9, 0.7])).tolist() == [1.0, 1.0, 1.0]
    assert holm(torch.tensor([0.03])).tolist() == pytest.approx([0.03])


def test_holm_has_nominal_family_wise_error_rate() -> None:
    """Any false alarm among eight questions; uncorrected there would be one in a third of the studies."""
    p_values = torch.rand(NULLS, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = stats.binom.interval(0.999, NULLS, LEVEL)
    assert low <= sum(bool((holm(row) <= LEVEL).any()) for row in p_values) <= high
    assert ((p_values <= LEVEL).any(dim=1).double().mean()) > 0.3
