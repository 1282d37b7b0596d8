"""The ROC curve of a score, its area, the threshold for a rate of false alarms; a positive is a score above that."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.evaluation.bootstrap import DRAWS_AT_ONCE, bca_interval, times_drawn
from cam_adv.evaluation.intervals import Interval, wilson

ROUNDING = 1e-9
"""By which a share of images may miss a whole number and still be that number."""


@dataclass(frozen=True)
class Sample:
    """Scores `(n,)` of pictures, and which image each was made from, any integers `(n,)`."""

    scores: Tensor
    image: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def threshold_for(negatives: Tensor, false_alarms: float) -> float:
    """The lowest score of a negative that at most the share `false_alarms` of the negatives `(n,)` lie above."""
    allowed = int(false_alarms * len(negatives) + ROUNDING)
    return negatives.sort(descending=True).values[allowed].item()


def roc_curve(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """The corners of the curve: false and true positive rates, `(C,)` each, from (0, 0) to (1, 1).

    Scores that positives and negatives share are a slanting piece.
    """
    scores, position = torch.cat([positives, negatives]).unique(return_inverse=True)
    counts = torch.zeros(2, len(scores), dtype=torch.long)
    counts[0].index_add_(0, position[len(positives) :], torch.ones(len(negatives), dtype=torch.long))
    counts[1].index_add_(0, position[: len(positives)], torch.ones(len(positives), dtype=torch.long))
    along = torch.nn.functional.pad(counts.flip(1).cumsum(dim=1), (1, 0))
    step = along.diff(dim=1)
    turns = step[0, 1:] * step[1, :-1] != step[0, :-1] * step[1, 1:]
    corner = torch.cat([torch.ones(1, dtype=torch.bool), turns, torch.ones(1, dtype=torch.bool)])
    false, true = along[:, corner].double() / along[:, -1:]
    return false, true


def area_under_roc(positives: Tensor, negatives: Tensor) -> float:
    """The share of pairs in which the positive has the higher score, ties half (Mann and Whitney 1947)."""
    once = [torch.ones(1, len(scores), dtype=torch.float64) for scores in (positives, negatives)]
    return _areas(positives, negatives, *once).item()


def area_interval(
    positives: Sample, negatives: Sample, resamples: int, level: float, generator: torch.Generator
) -> Interval:
    """The area with its BCa bootstrap interval.

    Images are drawn with replacement, and all pictures made from an image come with it: those that are among the
    positives alone, among the negatives alone and among both are drawn apart. Where every resample has the same area,
    that of scores which don't overlap, the bootstrap knows no more; then as many disjoint pairs of a positive and a
    negative as there can be are so many trials, and the interval is their Wilson interval: wide, but it holds.

    Args:
        resamples: how often to draw; a few thousands.
        level: confidence, in (0, 1).
        generator: on the CPU.
    """
    images, place = torch.cat([positives.image, negatives.image]).unique(return_inverse=True)
    of_positives, of_negatives = place.split([len(positives), len(negatives)])
    there = torch.zeros(2, len(images), dtype=torch.bool)
    there[0, of_positives] = there[1, of_negatives] = True
    parts = [(there[0] & ~there[1]), (there[1] & ~there[0]), (there[0] & there[1])]
    strata = [part.nonzero().squeeze(1) for part in parts if part.any()]
    at_once = max(1, DRAWS_AT_ONCE // len(images))

    def areas(times: Tensor) -> Tensor:
        """With each image counted `times` `(B, I)`."""
        return _areas(positives.scores, negatives.scores, times[:, of_positives], times[:, of_negatives])

    drawn = []
    for part in torch.arange(resamples).split(at_once):
        times = torch.zeros(len(part), len(images), dtype=torch.float64)
        for stratum in strata:
            times[:, stratum] = times_drawn(len(part), stratum, generator)
        drawn.append(areas(times))
    replicates = torch.cat(drawn)
    estimate = area_under_roc(positives.scores, negatives.scores)
    if (replicates - estimate).abs().max() < ROUNDING:
        pairs = min(len(positives), len(negatives))
        rate = wilson(round(estimate * pairs), pairs, level)
        return Interval(estimate, rate.low, rate.high)
    left_out = []
    for stratum in strata:
        without = []
        for part in stratum.split(at_once):
            times = torch.ones(len(part), len(images), dtype=torch.float64)
            times[torch.arange(len(part)), part] = 0
            without.append(areas(times))
        left_out.append(torch.cat(without))
    return bca_interval(replicates, estimate, left_out, level)


def _areas(positives: Tensor, negatives: Tensor, of_positive: Tensor, of_negative: Tensor) -> Tensor:
    """Areas `(B,)` where each score counts as often as its weights `(B, P)` and `(B, N)` say."""
    scores, position = torch.cat([positives, negatives]).unique(return_inverse=True)
    counts = torch.zeros(2, len(of_positive), len(scores), dtype=torch.float64)
    counts[0].index_add_(1, position[: len(positives)], of_positive)
    counts[1].index_add_(1, position[len(positives) :], of_negative)
    below = counts[1].cumsum(dim=1) - counts[1] / 2
    return (counts[0] * below).sum(dim=1) / (of_positive.sum(dim=1) * of_negative.sum(dim=1))
