"""The ROC curve of a score, its area, and the threshold for a false positive rate; scores above it are positive."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.metrics.bootstrap import DRAWS_AT_ONCE, bca_interval, bootstrap_counts
from cam_adv.metrics.intervals import Interval, wilson

ROUNDING = 1e-9
"""Tolerance within which a product of a rate and a count is taken for a whole number."""


@dataclass(frozen=True)
class ScoredImages:
    """Scores `(n,)` of images, and the number of the source image of each, any integers `(n,)`."""

    scores: Tensor
    image: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def threshold_at_fpr(negatives: Tensor, target_fpr: float) -> float:
    """The lowest score of a negative such that at most the share `target_fpr` of the negatives `(n,)` is above it."""
    allowed = int(target_fpr * len(negatives) + ROUNDING)
    return negatives.sort(descending=True).values[allowed].item()


def roc_curve(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """The corners of the curve: false and true positive rates, `(C,)` each, from (0, 0) to (1, 1).

    Scores that occur among both positives and negatives give a slanted segment.
    """
    scores, position = torch.cat([positives, negatives]).unique(return_inverse=True)
    counts = torch.zeros(2, len(scores), dtype=torch.long)
    counts[0].index_add_(0, position[len(positives) :], torch.ones(len(negatives), dtype=torch.long))
    counts[1].index_add_(0, position[: len(positives)], torch.ones(len(positives), dtype=torch.long))
    cumulative = torch.nn.functional.pad(counts.flip(1).cumsum(dim=1), (1, 0))
    step = cumulative.diff(dim=1)
    turns = step[0, 1:] * step[1, :-1] != step[0, :-1] * step[1, 1:]
    corner = torch.cat([torch.ones(1, dtype=torch.bool), turns, torch.ones(1, dtype=torch.bool)])
    fpr, tpr = cumulative[:, corner].double() / cumulative[:, -1:]
    return fpr, tpr


def roc_auc(positives: Tensor, negatives: Tensor) -> float:
    """The share of pairs in which the positive has the higher score, ties half (Mann and Whitney 1947)."""
    ones = [torch.ones(1, len(scores), dtype=torch.float64) for scores in (positives, negatives)]
    return _weighted_aucs(positives, negatives, *ones).item()


def auc_interval(
    positives: ScoredImages, negatives: ScoredImages, n_resamples: int, level: float, generator: torch.Generator
) -> Interval:
    """The AUC with its BCa bootstrap interval.

    Source images are drawn with replacement, and all images made from a source image come with it. Source images that
    occur among the positives only, among the negatives only, and among both are resampled separately, as strata.

    If every resample has the same AUC, as for scores that do not overlap, the bootstrap gives no width. Then the
    interval is the Wilson interval whose trials are as many disjoint pairs of a positive and a negative as possible:
    wide, but valid.

    Args:
        n_resamples: number of resamples; a few thousands.
        level: confidence, in (0, 1).
        generator: on the CPU.
    """
    images, position = torch.cat([positives.image, negatives.image]).unique(return_inverse=True)
    of_positives, of_negatives = position.split([len(positives), len(negatives)])
    present = torch.zeros(2, len(images), dtype=torch.bool)
    present[0, of_positives] = present[1, of_negatives] = True
    members = [(present[0] & ~present[1]), (present[1] & ~present[0]), (present[0] & present[1])]
    strata = [member.nonzero().squeeze(1) for member in members if member.any()]
    at_once = max(1, DRAWS_AT_ONCE // len(images))

    def aucs(image_counts: Tensor) -> Tensor:
        """AUCs `(B,)` with each source image weighted by its counts `(B, I)`."""
        weights = image_counts[:, of_positives], image_counts[:, of_negatives]
        return _weighted_aucs(positives.scores, negatives.scores, *weights)

    resampled = []
    for chunk in torch.arange(n_resamples).split(at_once):
        image_counts = torch.zeros(len(chunk), len(images), dtype=torch.float64)
        for stratum in strata:
            image_counts[:, stratum] = bootstrap_counts(len(chunk), stratum, generator)
        resampled.append(aucs(image_counts))
    replicates = torch.cat(resampled)
    estimate = roc_auc(positives.scores, negatives.scores)
    if (replicates - estimate).abs().max() < ROUNDING:
        pairs = min(len(positives), len(negatives))
        rate = wilson(round(estimate * pairs), pairs, level)
        return Interval(estimate, rate.low, rate.high)
    left_out = []
    for stratum in strata:
        without = []
        for chunk in stratum.split(at_once):
            image_counts = torch.ones(len(chunk), len(images), dtype=torch.float64)
            image_counts[torch.arange(len(chunk)), chunk] = 0
            without.append(aucs(image_counts))
        left_out.append(torch.cat(without))
    return bca_interval(replicates, estimate, left_out, level)


def _weighted_aucs(positives: Tensor, negatives: Tensor, positive_weight: Tensor, negative_weight: Tensor) -> Tensor:
    """AUCs `(B,)` with each score weighted, by `(B, P)` and `(B, N)`."""
    scores, position = torch.cat([positives, negatives]).unique(return_inverse=True)
    counts = torch.zeros(2, len(positive_weight), len(scores), dtype=torch.float64)
    counts[0].index_add_(1, position[: len(positives)], positive_weight)
    counts[1].index_add_(1, position[len(positives) :], negative_weight)
    below = counts[1].cumsum(dim=1) - counts[1] / 2
    return (counts[0] * below).sum(dim=1) / (positive_weight.sum(dim=1) * negative_weight.sum(dim=1))
