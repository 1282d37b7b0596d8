"""The table by hand, and its intervals against the package's own bootstrap and in a simulation."""

from collections.abc import Sequence

import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from cam_adv.metrics.bootstrap import hierarchical_bootstrap
from cam_adv.metrics.intervals import wilson
from cam_adv.studies.reading.agreement import Agreement, reader_agreement
from cam_adv.studies.reading.answers import Reader
from cam_adv.studies.reading.key import Key, Picture, PictureKind
from cam_adv.studies.reading.table import ReadingTable, bootstrapped_rate, make_table


def picture(kind: PictureKind, cluster: int = 0, judge: int = 1, repeat_of: int | None = None) -> Picture:
    """A picture with y = 0 and y' = 1."""
    return Picture(
        kind=kind, row=0, y=0, target=1, judge_reads=judge, cluster=cluster, pixels="", repeat_of=repeat_of
    )


PICTURES = (
    picture("x_adv", 0),
    picture("x_adv", 0),
    picture("x_adv", 1),
    picture("x_adv", 2, judge=-1),
    picture("x", 0),
    picture("x", 1),
    picture("start_image", 0),
    picture("reconstruction", 0),
    picture("x_adv", 0, repeat_of=0),
    picture("x", 1, repeat_of=5),
)
ANSWERS = ((1, 1, 0, -1, 0, 0, 1, 2, 1, 1), (1, 2, 0, -1, 0, 2, 1, -1, 0, 2))
"""Of two readers."""


def table_of(answers: Sequence[Sequence[int]], attack: str = "type1") -> ReadingTable:
    key = Key(salt="", attack=attack, class_names=("0", "1", "2"), pictures=PICTURES)
    readers = [
        Reader(f"reader {number}", torch.tensor(one), torch.arange(10.0) + number)
        for number, one in enumerate(answers)
    ]
    return make_table(key, readers, 200, 0.95, torch.Generator().manual_seed(0))


def test_rates_by_hand() -> None:
    table = table_of(ANSWERS)
    rates = {
        kind: {name: rate.rate for name, rate in of_kind.read_as.items()} for kind, of_kind in table.kinds.items()
    }
    assert rates == {
        "x_adv": {"target": 3 / 8, "y": 2 / 8, "nothing": 2 / 8, "other": 1 / 8},
        "start_image": {"target": 1, "y": 0, "nothing": 0, "other": 0},
        "reconstruction": {"y": 0, "nothing": 1 / 2, "other": 1 / 2},
        "x": {"y": 3 / 4, "nothing": 0, "other": 1 / 4},
    }
    numbers = {kind: (of_kind.pictures, of_kind.clusters) for kind, of_kind in table.kinds.items()}
    assert numbers == {"x_adv": (4, 3), "start_image": (1, 1), "reconstruction": (1, 1), "x": (2, 2)}
    for of_kind in table.kinds.values():
        for rate in of_kind.read_as.values():
            assert 0 <= rate.low <= rate.rate <= rate.high <= 1
            assert rate.low < rate.high


def test_judge_agrees_where_it_reads_the_same_or_both_nothing() -> None:
    assert table_of(ANSWERS).judge.rate == 5 / 8  # the first reader on 0, 1 and 3, the second on 0 and 3


def test_target_of_type2_attack_is_another_class() -> None:
    read_as = table_of(ANSWERS, attack="type2").kinds["x_adv"].read_as
    assert {name: rate.rate for name, rate in read_as.items()} == {"y": 2 / 8, "nothing": 2 / 8, "other": 4 / 8}


def test_figures_of_readers_by_hand() -> None:
    """The first reader gave the repeated x' the same answer, the second the repeated x."""
    readers = table_of(ANSWERS).readers
    assert list(readers) == ["reader 0", "reader 1"]
    for number, of_reader in enumerate(readers.values()):
        assert (of_reader.repeats, of_reader.same_again) == (2, wilson(1, 2))
        assert of_reader.median_seconds == 4 + number  # torch's median is the lower of two


def test_agreement_leaves_repeats_out() -> None:
    """Equal on the pictures 0, 2, 3, 4 and 6 of 8; of x', on three of four."""
    table = table_of(ANSWERS)
    assert table.agreement is not None
    assert table.agreement.share == 5 / 8
    assert table.kinds["x_adv"].agreement is not None
    assert table.kinds["x_adv"].agreement.share == 3 / 4


def test_single_reader_agrees_with_nobody() -> None:
    table = table_of(ANSWERS[:1])
    assert table.agreement is None
    assert table.kinds["x_adv"].read_as["target"].rate == 2 / 4


def test_table_depends_on_the_seed_alone() -> None:
    assert table_of(ANSWERS) == table_of(ANSWERS)


class TestAgreement:
    def test_cohens_kappa_by_hand(self) -> None:
        """Equal on 3 of 4; by chance 1/2·1/4 + 1/2·3/4 = 1/2."""
        assert reader_agreement(torch.tensor([[0, 0], [0, 5], [5, 5], [5, 5]])) == Agreement(0.75, 0.5)

    def test_fleiss_kappa_by_hand(self) -> None:
        """Pairs agree on 3/3 and 1/3; by chance (4/6)² + (2/6)² = 5/9; (2/3 − 5/9) / (4/9) = 1/4."""
        agreement = reader_agreement(torch.tensor([[-1, -1, -1], [-1, 3, 3]]))
        assert agreement.share == pytest.approx(2 / 3)
        assert agreement.kappa == pytest.approx(1 / 4)

    def test_cohens_kappa_equals_scikit_learns(self) -> None:
        answer = torch.randint(-1, 4, (60, 2), generator=torch.Generator().manual_seed(0))
        answer[:30, 1] = answer[:30, 0]
        kappa = reader_agreement(answer).kappa
        assert kappa == pytest.approx(cohen_kappa_score(answer[:, 0].numpy(), answer[:, 1].numpy()))

    def test_kappa_of_one_answer_is_undefined(self) -> None:
        assert reader_agreement(torch.zeros(5, 2, dtype=torch.int64)) == Agreement(1, None)


class TestClusteredRate:
    def test_equals_hierarchical_bootstrap_where_clusters_have_one_size(self) -> None:
        generator = torch.Generator().manual_seed(0)
        hits, cluster = torch.rand(60, 3, generator=generator) < 0.4, torch.arange(60) // 3
        found = bootstrapped_rate(hits, cluster, 500, 0.9, torch.Generator().manual_seed(1))
        reader = torch.arange(3).repeat(60)
        expected = hierarchical_bootstrap(
            hits.flatten().double(),
            reader,
            cluster.repeat_interleave(3),
            500,
            0.9,
            torch.Generator().manual_seed(1),
        )
        for one, other in ((found.rate, expected.estimate), (found.low, expected.low), (found.high, expected.high)):
            assert one == pytest.approx(other)

    def test_rate_is_of_pictures_where_clusters_differ_in_size(self) -> None:
        hits = torch.tensor([True, True, True, False])[:, None]
        assert bootstrapped_rate(hits, torch.tensor([5, 5, 5, 2]), 100, 0.95, torch.Generator()).rate == 0.75

    @pytest.mark.parametrize("hit", [True, False])
    def test_unanimous_rate_has_wilsons_interval_over_clusters(self, hit: bool) -> None:
        """Twelve readings in three clusters."""
        rate = bootstrapped_rate(torch.full((6, 2), hit), torch.arange(6) // 2, 100, 0.95, torch.Generator())
        assert rate == wilson(3 * hit, 3)

    def test_single_cluster_of_one_reader_tells_little(self) -> None:
        hits = torch.tensor([True, True, False])[:, None]
        rate = bootstrapped_rate(hits, torch.zeros(3, dtype=torch.int64), 100, 0.95, torch.Generator())
        assert rate.rate == pytest.approx(2 / 3)
        assert rate.high - rate.low > 0.7

    def test_interval_covers_the_rate_of_clustered_pictures(self) -> None:
        """40 clusters of five equal pictures, of which 40% are hits, read by one reader; 200 repetitions."""
        generator, cluster, covered, covered_unclustered = (
            torch.Generator().manual_seed(0),
            torch.arange(200) // 5,
            0,
            0,
        )
        for _ in range(200):
            hits = (torch.rand(40, generator=generator) < 0.4).repeat_interleave(5)[:, None]
            rate = bootstrapped_rate(hits, cluster, 300, 0.95, generator)
            covered += rate.low <= 0.4 <= rate.high
            plain = wilson(int(hits.sum()), 200)
            covered_unclustered += plain.low <= 0.4 <= plain.high
        assert covered >= 180
        assert covered_unclustered <= 150
