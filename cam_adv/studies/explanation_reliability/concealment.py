"""H3: the map of an adversarial image cannot be distinguished from that of a clean image of class y.

The victim's confidence alone can reveal an attack that stops at a set confidence, and every map of a logit carries
that confidence. Therefore clean images are matched to attacked ones in log-odds and in margin, and two effects count,
both of what the map adds to these two: to the AUC of a detector, and to the share of attacked maps that it catches at
a set false positive rate. Beside the trained detector stands the rule of a reader who knows the mean map of each
class.
The same is measured against reconstructions of clean images: what tells attacks from clean images alone may be what
tells generated images from real ones.

Detectors of different folds are trained on overlapping rows, so their scores are correlated. In simulations without
an effect (30 images, 2 targets, 16 positions, 150 simulations) the 95% interval of what the map adds excludes 0 in 4%
with three victims, that of the map's own AUC in about 20% with one victim. Use several victims for H3.
"""

import math
from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot

from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.metrics.conformal import conformal_threshold
from cam_adv.metrics.deletion_insertion import margin
from cam_adv.metrics.detector import assign_folds, auc_contributions, column_aucs, held_out_scores
from cam_adv.studies.explanation_reliability.instability import map_dissimilarity
from cam_adv.studies.explanation_reliability.maps import downsample

EVADES = ("evades", "evades_confidence", "evades_both", "evades_reader")
"""Columns of attacked maps that pass: a detector on the map, on confidence, on both, and the reader's rule."""

PAIR_COLUMNS = ("map", "confidence", "both", *EVADES, "null")
"""Columns of `detector_auc_contributions` whatever it is given."""

N_PERMUTATIONS = 999
"""The smallest p is 1/1000, small enough for Holm's factor of both directions and twenty attribution methods."""

SEED_STRIDE = 1_000_003
"""Distance between the seeds of two images' permutations: a prime beyond any number of images."""


def confidence_features(logits: Tensor, label: Tensor) -> Tensor:
    """Log-odds of the label, and its margin over the next class: `(N, 2)`, of logits `(N, K)`."""
    return torch.stack([log_odds_of(logits, label), margin(logits, label, None)], dim=1)


def match_pairs(
    attacked: Tensor, label: Tensor, clean: Tensor, clean_label: Tensor, caliper: float
) -> tuple[Tensor, Tensor]:
    """Pairs of an attacked and a clean image of the same class with similar confidence.

    Within each class the assignment of the smallest total distance, in which each clean image is used at most once;
    then pairs beyond the caliper are dropped. Distances are in standard deviations over all clean images.

    Args:
        attacked, clean: confidence features, `(N, 2)` and `(M, 2)`.
        label, clean_label: classes, `(N,)` and `(M,)`.
        caliper: largest distance of a pair.

    Returns:
        Positions among the attacked and among the clean, `(n,)` each, the first ascending.
    """
    if len(clean) < 2:  # no standard deviation to measure distances in
        return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
    std = clean.std(dim=0).clamp_min(torch.finfo(clean.dtype).tiny)
    pairs = []
    for number in label.unique():
        rows, columns = (label == number).nonzero().squeeze(1), (clean_label == number).nonzero().squeeze(1)
        distance = torch.cdist(attacked[rows] / std, clean[columns] / std)
        # All pairs far beyond the caliper cost the same, so that a row without any match takes none from another row.
        first, second = linear_sum_assignment(distance.clamp_max(10 * caliper).numpy())
        near = distance[first, second] <= caliper
        pairs.append(torch.stack([rows[first][near], columns[second][near]]))
    matched = torch.cat(pairs, dim=1) if pairs else torch.empty(2, 0, dtype=torch.long)
    attacked_rows, clean_rows = matched[:, matched[0].argsort()]
    return attacked_rows, clean_rows


def detector_auc_contributions(
    confidence: tuple[Tensor, Tensor],
    maps: tuple[Tensor, Tensor],
    other_class: Tensor | None,
    label: Tensor,
    group: Tensor,
    count: int,
    target_fpr: float,
    seed: int,
) -> dict[str, Tensor]:
    """How well detectors separate matched pairs of groups that they were not trained on.

    All detectors get the class as a feature; of maps they get at most 7×7 raw values.

    Args:
        confidence: `confidence_features` of the attacked and of the clean images, `(n, 2)` each.
        maps: of class y, of the attacked and of the clean images, `(n, h, w)` each.
        other_class: maps of class y of real images of class y', `(n, h, w)`: a positive control for the detector, or
            None.
        label: y, `(n,)`.
        group: rows that depend on each other, such as those of one source image, have the same number, `(n,)`.
        count: number of folds; no more are used than there are groups.
        target_fpr: share of clean images that may be reported.
        seed: of the folds and the permutations.

    Returns:
        `(n,)` each: `map`, `confidence`, `both` and, if given, `other_class`, contributions to the AUC of a detector
        with these features; and those of `EVADES`, 1 where the attacked map's score, of a detector or of
        `reader_scores`, does not exceed the `conformal_threshold` of the clean maps' scores; NaN where these are too
        few. And `null` `(n, N_PERMUTATIONS)`, the same in every row: AUC of both minus AUC of confidence when
        attacked and clean are exchanged at random, jointly for all pairs of a group and for all victims, and
        detectors are trained again. (Sign flips of the contributions are no substitute: scores of rows that were
        training data for each other vary more than their contributions show. In 200 simulations without an effect,
        p ≤ .05 came in 15%.)
    """
    classes = one_hot(label).double()
    kind = torch.tensor([1, 0]).repeat_interleave(len(label))
    folds = assign_folds(group, min(count, len(group.unique())), torch.Generator().manual_seed(seed)).repeat(2)
    permuted_kind = _exchanges(group, seed).repeat(2, 1) ^ kind.unsqueeze(1)

    def features(attacked: Tensor, clean: Tensor) -> Tensor:
        return torch.cat([torch.cat([part.double(), classes], dim=1) for part in (attacked, clean)])

    def scores(attacked: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        attacked_scores, clean_scores = held_out_scores(features(attacked, clean), kind, folds).split(len(label))
        return attacked_scores, clean_scores

    def permuted_aucs(attacked: Tensor, clean: Tensor) -> Tensor:
        return column_aucs(held_out_scores(features(attacked, clean), permuted_kind, folds), permuted_kind)

    attacked, clean = (downsample(part).flatten(1) for part in maps)
    both = torch.cat([attacked, confidence[0]], dim=1), torch.cat([clean, confidence[1]], dim=1)
    by_map, by_confidence, by_both = scores(attacked, clean), scores(*confidence), scores(*both)

    def evades(scores: tuple[Tensor, Tensor]) -> Tensor:
        threshold = conformal_threshold(scores[1], target_fpr)
        passing = (scores[0] <= threshold).double()
        return passing if math.isfinite(threshold) else torch.full_like(passing, torch.nan)

    positive_control = {}
    if other_class is not None:
        other = downsample(other_class).flatten(1)
        positive_control["other_class"] = auc_contributions(*scores(other, clean))
    return positive_control | {
        "map": auc_contributions(*by_map),
        "confidence": auc_contributions(*by_confidence),
        "both": auc_contributions(*by_both),
        "evades": evades(by_map),
        "evades_confidence": evades(by_confidence),
        "evades_both": evades(by_both),
        "evades_reader": evades(reader_scores(*maps, label)),
        "null": (permuted_aucs(*both) - permuted_aucs(*confidence)).expand(len(label), N_PERMUTATIONS),
    }


def reader_scores(attacked: Tensor, clean: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Dissimilarity of every map to the nearest class's mean map, of attacked and of clean images: `(n,)` each.

    The mean maps are of the clean images `(n, h, w)` of each class, less the clean image of the row's own pair.
    """
    classes, own = label.unique(return_inverse=True)
    counts = torch.bincount(own)
    sums = torch.zeros(len(classes), *clean.shape[1:], dtype=clean.dtype).index_add_(0, own, clean)
    nearest = [torch.full((len(label),), torch.inf, dtype=clean.dtype) for _ in range(2)]
    for number in range(len(classes)):
        of_class = (own == number)[:, None, None]
        mean = (sums[number] - torch.where(of_class, clean, 0)) / (counts[number] - of_class.long()).clamp_min(1)
        for place, maps in enumerate((attacked, clean)):
            nearest[place] = torch.minimum(nearest[place], map_dissimilarity(mean, maps))
    return nearest[0], nearest[1]


def permutation_test(pairs: Mapping[str, Tensor], threshold: float) -> tuple[float, float]:
    """One-sided p-values of "the map adds at most the threshold to the AUC" and of "at least", over all victims.

    The null distribution of no effect, from columns of `detector_auc_contributions`, is shifted by the threshold.
    """
    if not len(pairs["both"]):
        return 1.0, 1.0
    observed = (pairs["both"] - pairs["confidence"]).mean() - threshold
    null, rounding = pairs["null"].mean(dim=0), 1e-12
    as_large, as_small = int((null >= observed - rounding).sum()), int((null <= observed + rounding).sum())
    count = 1 + pairs["null"].shape[1]
    return (1 + as_large) / count, (1 + as_small) / count


def _exchanges(group: Tensor, seed: int) -> Tensor:
    """0 or 1 for every row and permutation, `(n, N_PERMUTATIONS)`, equal in all rows of a group."""
    groups, position = group.unique(return_inverse=True)
    rows = [
        torch.randint(2, (N_PERMUTATIONS,), generator=torch.Generator().manual_seed(seed * SEED_STRIDE + number))
        for number in groups.tolist()
    ]
    return torch.stack(rows)[position]
