"""Intervals of a rate and of a difference of rates: against SciPy, published tables, and by hand."""

import math

import pytest
import torch
from scipy.stats import binomtest

from cam_adv.metrics.intervals import (
    clustered_rate,
    effective_trials,
    mixed_rate,
    newcombe,
    newcombe_paired,
    score_statistic,
    wilson,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (1, 3), (150, 200), (999, 1000)])
def test_wilson_matches_scipy(successes: int, trials: int) -> None:
    ours = wilson(successes, trials)
    oracle = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert (ours.rate, ours.low, ours.high) == pytest.approx((successes / trials, oracle.low, oracle.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_invalid_counts_raise(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no rate"):
        wilson(successes, trials)


def test_wilson_level_solves_its_equation() -> None:
    """By the equation it solves: |share − p| = z·sqrt(p(1 − p)/n) at both ends."""
    rate = wilson(7, 20, level=0.99)
    for end in (rate.low, rate.high):
        assert abs(0.35 - end) == pytest.approx(2.5758293 * math.sqrt(end * (1 - end) / 20), abs=1e-7)


class TestClusteredRate:
    @pytest.mark.parametrize("met", [0, 1, 3, 7, 10])
    def test_clusters_of_one_give_the_wilson_interval(self, met: int) -> None:
        assert clustered_rate([trial < met for trial in range(10)], range(10)) == wilson(met, 10)

    @pytest.mark.parametrize(("met", "clusters", "size"), [(0, 8, 3), (8, 8, 3), (2, 8, 3), (5, 6, 4)])
    def test_trials_that_are_all_alike_count_once_for_each_cluster(self, met: int, clusters: int, size: int) -> None:
        cluster = [number for number in range(clusters) for _ in range(size)]
        found = clustered_rate([number < met for number in cluster], cluster)
        expected = wilson(met, clusters)
        assert vars(found) == pytest.approx(vars(expected))
        plain = wilson(met * size, clusters * size)
        assert found.high - found.low > plain.high - plain.low

    def test_by_hand(self) -> None:
        """Two of three, none of two, one of three: sums less size·3/8 are 7/8, -6/8 and -1/8.

        The design effect is 3/2 · (49 + 36 + 1)/64 / (8 · 15/64) = 1.075, between 1 and (9 + 4 + 9)/8.
        """
        found = clustered_rate([True, True, False, False, False, True, False, False], [5, 5, 5, -1, -1, 0, 0, 0])
        assert vars(found) == pytest.approx(vars(wilson(3 / 1.075, 8 / 1.075)))
        assert found.rate == pytest.approx(3 / 8)

    @pytest.mark.parametrize("met", [False, True])
    def test_rates_of_zero_and_one_take_the_most_cautious_effect(self, met: bool) -> None:
        """Clusters of 3 and 1: (9 + 1)/4 = 2.5, so four trials count as 1.6."""
        found = clustered_rate([met] * 4, [0, 0, 0, 1])
        assert vars(found) == pytest.approx(vars(wilson(1.6 * met, 1.6)))
        assert found.rate == met

    def test_one_cluster_counts_as_one_trial(self) -> None:
        found = clustered_rate([True, True, False, False], [7] * 4)
        assert vars(found) == pytest.approx(vars(wilson(0.5, 1)))

    def test_clusters_that_vary_less_than_independent_trials_give_the_wilson_interval(self) -> None:
        """Each cluster has one success of two: the effect is below 1, which is not believed."""
        found = clustered_rate([True, False] * 6, [number for number in range(6) for _ in range(2)])
        assert found == wilson(6, 12)

    def test_is_independent_of_order_and_of_the_numbers_of_the_clusters(self) -> None:
        generator = torch.Generator().manual_seed(0)
        met = torch.rand(30, generator=generator) < 0.4
        cluster = torch.randint(8, (30,), generator=generator)
        order, numbers = torch.randperm(30, generator=generator), 100 - 7 * torch.randperm(8, generator=generator)
        one = clustered_rate(met.tolist(), cluster.tolist())
        other = clustered_rate(met[order].tolist(), numbers[cluster[order]].tolist())
        assert vars(other) == pytest.approx(vars(one))

    @pytest.mark.parametrize(("share", "within"), [(0.5, 0.3), (0.15, 0.5), (0.9, 1.0)])
    def test_covers_the_true_rate_of_clustered_trials(self, share: float, within: float) -> None:
        """A trial is that of its whole cluster with probability `within`: 120 clusters of one to five trials."""
        generator, runs, clusters = torch.Generator().manual_seed(0), 2000, 120
        cluster = torch.arange(clusters).repeat_interleave(1 + torch.arange(clusters) % 5)
        shape = runs, len(cluster)
        of_cluster = (torch.rand(runs, clusters, generator=generator) < share)[:, cluster]
        own = torch.rand(shape, generator=generator) < share
        met = torch.where(torch.rand(shape, generator=generator) < within, of_cluster, own)
        found = [clustered_rate(one, cluster.tolist()) for one in met.tolist()]
        assert sum(rate.low <= share <= rate.high for rate in found) / runs >= 0.93
        if within == 1:
            plain = [wilson(sum(one), len(one)) for one in met.tolist()]
            assert sum(rate.low <= share <= rate.high for rate in plain) / runs < 0.9

    def test_level_is_that_of_the_wilson_interval(self) -> None:
        assert clustered_rate([True, False, True], [0, 1, 2], 0.5) == wilson(2, 3, 0.5)

    @pytest.mark.parametrize(("met", "cluster"), [([], []), ([True], []), ([True], [0, 1]), ([], [0])])
    def test_no_trials_or_other_clusters_raise(self, met: list[bool], cluster: list[int]) -> None:
        with pytest.raises(ValueError, match="no rate"):
            clustered_rate(met, cluster)


@pytest.mark.parametrize(
    ("after", "before", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_matches_published_table(
    after: tuple[int, int], before: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, table II, method 10."""
    interval = newcombe(wilson(*after), wilson(*before))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert interval.estimate == pytest.approx(after[0] / after[1] - before[0] / before[1])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 1, 7, 12), (0.2857, 0.026, 0.507)),  # Bentur et al. 2009, as in Fagerland et al. 2014
        ((20, 12, 2, 16), (-0.2, -0.3292, -0.0562)),  # Newcombe 1998, table II, the sign turned
    ],
)
def test_newcombe_paired_matches_published_intervals(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    found = newcombe_paired(*counts)
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, abs=5e-4)


def test_newcombe_paired_of_equal_results_has_positive_width() -> None:
    """All of 10 succeed both times: Wilson's interval of each rate goes down to 0.722."""
    found = newcombe_paired(10, 0, 0, 0)
    assert (found.estimate, found.low, found.high) == pytest.approx((0, -0.2775, 0.2775), abs=1e-4)


def test_newcombe_paired_changes_sign_with_the_order() -> None:
    one, other = newcombe_paired(50, 30, 5, 15), newcombe_paired(50, 5, 30, 15)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, -1, 2, 0)])
def test_newcombe_paired_invalid_counts_raise(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="paired trials"):
        newcombe_paired(*counts)


def test_mixed_rate_ends_at_its_two_rates() -> None:
    first, second = wilson(9, 10), wilson(1, 50)
    for share, end in ((1, first), (0, second)):
        assert vars(mixed_rate(share, first, second)) == pytest.approx(vars(end))


def test_mixed_rate_in_equal_shares_is_half_newcombes_difference_from_the_complement() -> None:
    """a/2 + b/2 = (a − (1 − b) + 1)/2, with the same interval."""
    a, b, complement = wilson(7, 20), wilson(4, 30), wilson(26, 30)
    mixed, difference = mixed_rate(0.5, a, b), newcombe(a, complement)
    expected = [(end + 1) / 2 for end in (difference.estimate, difference.low, difference.high)]
    assert [mixed.rate, mixed.low, mixed.high] == pytest.approx(expected)


def test_effective_trials_between_single_trials_and_whole_clusters() -> None:
    met, cluster = [True, True, False, False] * 5, [number // 2 for number in range(20)]
    assert effective_trials(met, list(range(20))) == 20
    assert effective_trials(met, cluster) == pytest.approx(10)  # clusters all alike
    assert effective_trials([True] * 20, cluster) == 10  # unknown: the most cautious


def test_score_statistic_is_inverted_by_the_wilson_interval() -> None:
    found = wilson(37, 40)
    assert score_statistic(37 / 40, 40, found.low) == pytest.approx(1.959964)
    assert score_statistic(37 / 40, 40, found.high) == pytest.approx(-1.959964)
