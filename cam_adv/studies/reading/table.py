"""What people saw on each kind of picture, with intervals; their agreement with each other and with the judge.

A rate is the share of pictures × readers. The interval takes into account that pictures from one start resemble each
other, and that a reader's answers do: clusters and readers are each drawn with replacement, independently (the
pigeonhole bootstrap, see `cam_adv.metrics.bootstrap`), and a cluster brings all of its pictures with it. Unlike in
`hierarchical_bootstrap` a cluster counts by its number of pictures, so that the rate is that of pictures, as in the
run's `summary.json`. With one reader this is the bootstrap over clusters, and it says nothing about other readers;
with two or three the spread between readers is badly estimated, and the interval is somewhat too short.

Where all resamples give the same rate, as they do where it is 0 or 1, the interval is Wilson's for as many trials as
there are clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.data.human_labels import NOTHING
from cam_adv.metrics.bootstrap import bca_interval, bootstrap_counts
from cam_adv.metrics.intervals import Rate, wilson
from cam_adv.studies.reading.agreement import Agreement, reader_agreement
from cam_adv.studies.reading.answers import Reader
from cam_adv.studies.reading.key import Key, Picture, PictureKind

KINDS: tuple[PictureKind, ...] = ("x_adv", "start_image", "reconstruction", "x")
NO_WIDTH = 1e-9


@dataclass(frozen=True)
class KindReadings:
    """The readings of one kind of picture.

    pictures, clusters: their numbers.
    read_as: shares of "target" (y', only of x' and G(start) of a Type I attack), "y", "nothing" and "other".
    agreement: between the readers, None for a single one.
    """

    pictures: int
    clusters: int
    read_as: dict[str, Rate]
    agreement: Agreement | None


@dataclass(frozen=True)
class ReaderFigures:
    """Of one reader: the median time of an answer, and how often a repeated picture got the same answer again."""

    median_seconds: float
    repeats: int
    same_again: Rate | None


@dataclass(frozen=True)
class ReadingTable:
    """kinds: by kind of picture, those that the page has.

    judge: how often the judge reads in x' what a reader does, "nothing" included.
    agreement: between readers on all pictures, None for a single reader.
    """

    kinds: dict[PictureKind, KindReadings]
    judge: Rate
    agreement: Agreement | None
    median_seconds: float
    readers: dict[str, ReaderFigures]


def make_table(
    key: Key, readers: Sequence[Reader], n_resamples: int, level: float, generator: torch.Generator
) -> ReadingTable:
    """Compare what readers saw with what the pictures are; repeats count for `ReaderFigures.same_again` only.

    Args:
        readers: at least one.
        n_resamples: of the bootstrap.
        level: of the intervals, in (0, 1).
        generator: on the CPU.
    """
    answer = torch.stack([reader.answer for reader in readers], dim=1)  # (positions, readers)
    seconds = torch.stack([reader.seconds for reader in readers], dim=1)

    def share(hits: Tensor, cluster: Tensor) -> Rate:
        return bootstrapped_rate(hits, cluster, n_resamples, level, generator)

    kinds, judge = {}, None
    for kind in KINDS:
        places = [place for place, one in enumerate(key.pictures) if one.kind == kind and one.repeat_of is None]
        if not places:
            continue
        given, shown = answer[places], [key.pictures[place] for place in places]
        cluster = _column(shown, "cluster")
        is_y, is_nothing = given == _column(shown, "y")[:, None], given == NOTHING
        hits = {"y": is_y, "nothing": is_nothing}
        if key.attack == "type1" and kind in ("x_adv", "start_image"):
            hits = {"target": given == _column(shown, "target")[:, None]} | hits
        hits["other"] = ~torch.stack(list(hits.values())).any(dim=0)
        rates = {name: share(one, cluster) for name, one in hits.items()}
        kinds[kind] = KindReadings(len(places), len(cluster.unique()), rates, _agreement(given))
        if kind == "x_adv":
            judge = share(given == _column(shown, "judge_reads")[:, None], cluster)
    assert judge is not None  # the page has at least one x'
    first = [place for place, one in enumerate(key.pictures) if one.repeat_of is None]
    return ReadingTable(
        kinds,
        judge,
        _agreement(answer[first]),
        seconds.median().item(),
        {reader.name: _reader_figures(key, reader, level) for reader in readers},
    )


def bootstrapped_rate(
    hits: Tensor, cluster: Tensor, n_resamples: int, level: float, generator: torch.Generator
) -> Rate:
    """The share of hits with its BCa interval, or Wilson's where the bootstrap has no width: see the module.

    Args:
        hits: `(pictures, readers)` bool.
        cluster: of each picture, any integers, `(pictures,)`.
        n_resamples: of the bootstrap.
        level: of the interval, in (0, 1).
        generator: on the CPU.
    """
    names, index = cluster.unique(return_inverse=True)
    clusters, readers = len(names), hits.shape[1]
    total = torch.zeros(clusters, readers, dtype=torch.float64).index_add_(0, index, hits.double())
    size = index.bincount(minlength=clusters).double()

    def ratio(reader_counts: Tensor, cluster_counts: Tensor) -> Tensor:
        """Hits per reading, with each reader `(B, readers)` and each cluster `(B, clusters)` counted so often."""
        of_clusters = ((reader_counts @ total.T) * cluster_counts).sum(dim=1)
        return of_clusters / (reader_counts.sum(dim=1) * (cluster_counts @ size))

    reader_counts = bootstrap_counts(n_resamples, torch.arange(readers), generator)
    replicates = ratio(reader_counts, bootstrap_counts(n_resamples, torch.arange(clusters), generator))
    each_reader, each_cluster = (torch.ones(1, count, dtype=torch.float64) for count in (readers, clusters))
    left_out = [
        ratio(1 - torch.eye(readers, dtype=torch.float64), each_cluster),
        ratio(each_reader, 1 - torch.eye(clusters, dtype=torch.float64)),
    ]
    rate = ratio(each_reader, each_cluster).item()
    interval = bca_interval(replicates, rate, left_out, level)
    if interval.high - interval.low > NO_WIDTH:
        return Rate(rate, interval.low, interval.high)
    score = wilson(round(rate * clusters), clusters, level)
    return Rate(rate, min(score.low, rate), max(score.high, rate))


def _reader_figures(key: Key, reader: Reader, level: float) -> ReaderFigures:
    again = [(place, one.repeat_of) for place, one in enumerate(key.pictures) if one.repeat_of is not None]
    same = sum(int(reader.answer[place] == reader.answer[first]) for place, first in again)
    rate = wilson(same, len(again), level) if again else None
    return ReaderFigures(reader.seconds.median().item(), len(again), rate)


def _agreement(answer: Tensor) -> Agreement | None:
    return reader_agreement(answer) if answer.shape[1] > 1 else None


def _column(pictures: Sequence[Picture], name: str) -> Tensor:
    return torch.tensor([getattr(picture, name) for picture in pictures])
