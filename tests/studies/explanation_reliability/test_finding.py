"""The decision rule, the combination of tests, and how often the rule is wrong on simulated studies."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.metrics.intervals import wilson
from cam_adv.studies.explanation_reliability.finding import (
    MIN_CLUSTERS,
    NO_ESTIMATE,
    Estimate,
    Estimator,
    all_exceed,
    any_exceeds,
    decide,
    holm_adjust,
)

ESTIMATOR = Estimator(level=0.95)


def make_estimate(effect: float, p_above: float, p_below: float) -> Estimate:
    return Estimate(effect, effect - 0.1, effect + 0.1, p_above, p_below, 80, 50, 50)


def make_table(victims: int, images: int, starts: int) -> dict[str, Tensor]:
    """Every victim on every image; images take turns at the starts."""
    image = torch.arange(images).repeat(victims)
    victim = torch.arange(victims).repeat_interleave(images)
    return {"victim": victim, "image": image, "start": (image % starts)[:, None].double()}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (make_estimate(0.3, 0.001, 1.0), "yes"),
        (make_estimate(0.3, 0.06, 0.99), "undecided"),
        (make_estimate(-0.5, 1.0, 0.001), "no"),
        (make_estimate(0.0, 0.9, 0.06), "undecided"),
        (NO_ESTIMATE, "undecided"),
    ],
)
def test_decide_by_the_p_of_each_direction(found: Estimate, expected: str) -> None:
    assert decide(found, level=0.95) == expected


def test_all_exceed_takes_the_smallest_effect_and_corrects_what_any_one_shows() -> None:
    one, other = make_estimate(0.3, 0.001, 0.9), make_estimate(0.2, 0.2, 0.01)
    assert all_exceed({"one": one, "other": other}) == replace(other, p_above=0.2, p_below=0.02)
    assert math.isnan(all_exceed({"one": one, "nothing": NO_ESTIMATE}).effect)


def test_any_exceeds_is_refuted_by_both_alone() -> None:
    one, other = make_estimate(0.3, 0.001, 0.9), make_estimate(0.2, 0.2, 0.01)
    assert any_exceeds(one, other) == replace(one, p_above=0.002, p_below=0.9)


def test_holm_adjust_corrects_for_both_directions_of_every_estimate() -> None:
    estimates = {"a": make_estimate(1, 0.01, 0.99), "b": make_estimate(1, 0.9, 0.02)}
    adjusted = holm_adjust(estimates)
    assert (adjusted["a"].p_above, adjusted["b"].p_below) == pytest.approx((0.04, 0.06))
    assert (adjusted["a"].p_below, adjusted["b"].p_above) == (1, 1)


def test_estimator_mean_counts_images_that_share_a_start_as_one() -> None:
    table = make_table(victims=2, images=30, starts=15)
    values = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = ESTIMATOR.mean(table, values.index_fill(0, torch.tensor([0, 30]), torch.nan), -9.0)
    assert (found.rows, found.images, found.clusters) == (58, 29, 15)
    assert found.effect == pytest.approx(values[torch.arange(60) % 30 > 0].mean().item())
    assert found.low < found.effect < found.high
    assert found.p_above < 0.01 < 0.99 < found.p_below


@pytest.mark.parametrize("estimator", [ESTIMATOR.mean, ESTIMATOR.share])
def test_estimator_of_too_few_clusters_tests_nothing(estimator: object) -> None:
    table = make_table(victims=1, images=40, starts=MIN_CLUSTERS - 1)
    found = estimator(table, torch.ones(40), 0.5)  # type: ignore[operator]
    assert (found.effect, found.p_above, found.p_below) == (1, 1, 1)


def test_estimator_share_of_equal_rows_has_a_width_and_a_p() -> None:
    found = ESTIMATOR.share(make_table(victims=3, images=40, starts=40), torch.ones(120), 0.85)
    assert (found.effect, found.high) == pytest.approx((1, 1))
    assert 0.9 < found.low < 0.95
    assert found.p_above == pytest.approx(stats.t.sf(0.15 / (0.85 * 0.15 / 40) ** 0.5, 39))


def test_estimator_share_of_independent_rows_is_wilsons() -> None:
    """One victim, 400 images: the effective number of rows is that of rows, but for the 399 in the variance."""
    table, met = make_table(victims=1, images=400, starts=400), (torch.arange(400) < 340).double()
    found, expected = ESTIMATOR.share(table, met, 0.8), wilson(340, 400)
    assert (found.effect, found.low, found.high) == pytest.approx(tuple(vars(expected).values()), abs=1e-3)
    assert found.p_above == pytest.approx(stats.norm.sf(0.05 / (0.8 * 0.2 / 400) ** 0.5), abs=1e-3)


@pytest.mark.parametrize("starts", [30, 15])
def test_estimator_share_at_the_threshold_is_rarely_wrong(starts: int) -> None:
    """300 studies whose true share is the threshold: 3 victims and 30 images with own shares."""
    generator, table = torch.Generator().manual_seed(starts), make_table(victims=3, images=30, starts=starts)
    wrong = 0
    for _ in range(300):
        of_start = 0.4 + 0.6 * torch.rand(starts, generator=generator)
        met = torch.rand(90, generator=generator) < of_start[table["image"] % starts]
        found = ESTIMATOR.share(table, met.double(), 0.7)
        wrong += decide(holm_adjust({"one": found})["one"], 0.95) != "undecided"
    assert wrong <= stats.binom.ppf(0.999, 300, 0.05)
