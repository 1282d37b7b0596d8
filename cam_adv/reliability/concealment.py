"""H3: the map at the attack's end can't be told from that of an honest image of class y.

The victim's confidence alone gives an attack away that stops at the confidence it was asked for, and every map of a
logit shows that confidence. So honest images are matched to attacked ones in log-odds and in margin, and a map counts
for what it adds to these two.

Detectors of different folds learn from each other's rows, so their scores vary together. Measured without an effect
(30 images, 2 targets, 16 positions, 150 simulations): the 95% interval of what the map adds misses 0 in 4% with three
victims, that of the map's own AUC in about 20% with one. Read H3 on several victims.
"""

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot

from cam_adv.attack.multiplier import log_odds_of
from cam_adv.evaluation.erasure import margin
from cam_adv.reliability.detector import areas, auc_parts, folds, held_out_scores
from cam_adv.reliability.maps import coarse

TOLD = ("map", "confidence", "both", "other class", "passes", "chance")
"""What is told of each pair."""

SWAPS = 499
"""Times that attacked and honest change places: p is no smaller than 1/500, which Holm may multiply by 9 or more."""

IMAGES_APART = 1_000_003
"""Distance between the seeds of two images' swaps: a prime beyond any number of images."""


def certainty(logits: Tensor, label: Tensor) -> Tensor:
    """Log-odds of the label, and its margin over the next class: `(N, 2)`, of logits `(N, K)`."""
    return torch.stack([log_odds_of(logits, label), margin(logits, label, None)], dim=1)


def match(
    attacked: Tensor, label: Tensor, honest: Tensor, honest_label: Tensor, caliper: float
) -> tuple[Tensor, Tensor]:
    """Pairs of an attacked and an honest image of the same class, as like in certainty as can be.

    Within each class the pairs with the smallest total distance, each honest image in one pair at most; then those
    further apart than the caliper are dropped. Distances are in deviations over all honest images.

    Args:
        attacked, honest: certainties, `(N, 2)` and `(M, 2)`.
        label, honest_label: classes, `(N,)` and `(M,)`.
        caliper: largest distance of a pair.

    Returns:
        Positions among the attacked and among the honest, `(n,)` each, the first ascending.
    """
    if len(honest) < 2:  # no deviation to measure distances in
        return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
    deviation = honest.std(dim=0).clamp_min(torch.finfo(honest.dtype).tiny)
    pairs = []
    for number in label.unique():
        rows, columns = (label == number).nonzero().squeeze(1), (honest_label == number).nonzero().squeeze(1)
        away = torch.cdist(attacked[rows] / deviation, honest[columns] / deviation)
        # Beyond the caliper one pair is as good as another: a hopeless row must not take a match from a good one.
        first, second = linear_sum_assignment(away.clamp_max(10 * caliper).numpy())
        near = away[first, second] <= caliper
        pairs.append(torch.stack([rows[first][near], columns[second][near]]))
    found = torch.cat(pairs, dim=1) if pairs else torch.empty(2, 0, dtype=torch.long)
    return tuple(found[:, found[0].argsort()])


def tell_apart(
    certainties: tuple[Tensor, Tensor],
    maps: tuple[Tensor, Tensor],
    other_class: Tensor,
    label: Tensor,
    image: Tensor,
    count: int,
    false_alarms: float,
    seed: int,
) -> dict[str, Tensor]:
    """How well matched pairs are told apart by detectors that have not seen their source images.

    All detectors know the class. Of maps they see at most 7×7 raw values.

    Args:
        certainties: of the attacked and of the honest, `(n, 2)` each.
        maps: of class y, of the attacked and of the honest, `(n, h, w)` each.
        other_class: maps of class y of real images of class y', `(n, h, w)`: who can't tell even these from honest
            ones has too few pairs to learn from.
        label: y, `(n,)`.
        image: the source image of the attacked, `(n,)`.
        count: of folds, or as many as there are images.
        false_alarms: share of honest images that may be reported.
        seed: of the folds and the swaps.

    Returns:
        `(n,)` each: `map`, `confidence`, `both` and `other class`, parts of the AUC of a detector that sees these;
        and `passes`, 1 where the attacked map's score is no higher than what all but `false_alarms` of the honest
        maps have. And `chance` `(n, SWAPS)`, the same in every row: AUC of both less AUC of confidence where attacked
        and honest change places at random, all pairs of a source image together and alike for every victim, and the
        detectors learn anew. (Signs of the parts can't be flipped instead: scores of rows that learnt from each other
        vary more than their parts show. Measured without an effect, p ≤ 0.05 came in 15% of 200 simulations.)
    """
    known = one_hot(label).double()
    kind = torch.tensor([1, 0]).repeat_interleave(len(label))
    fold = folds(image, min(count, len(image.unique())), torch.Generator().manual_seed(seed)).repeat(2)
    swapped = _swaps(image, seed).repeat(2, 1) ^ kind.unsqueeze(1)

    def seen(features: tuple[Tensor, Tensor]) -> Tensor:
        return torch.cat([torch.cat([part.double(), known], dim=1) for part in features])

    def scores(*features: Tensor) -> tuple[Tensor, Tensor]:
        """Of the attacked and of the honest, given what is seen of each."""
        return held_out_scores(seen(features), kind, fold).split(len(label))

    def by_chance(*features: Tensor) -> Tensor:
        return areas(held_out_scores(seen(features), swapped, fold), swapped)

    attacked, honest, other = (coarse(part).flatten(1) for part in (*maps, other_class))
    both = [torch.cat(part, dim=1) for part in zip((attacked, honest), certainties, strict=True)]
    by_map = scores(attacked, honest)
    return {
        "map": auc_parts(*by_map),
        "confidence": auc_parts(*scores(*certainties)),
        "both": auc_parts(*scores(*both)),
        "other class": auc_parts(*scores(other, honest)),
        "passes": (by_map[0] <= torch.quantile(by_map[1], 1 - false_alarms)).double(),
        "chance": (by_chance(*both) - by_chance(*certainties)).expand(len(label), SWAPS),
    }


def swap_test(pairs: Mapping[str, Tensor]) -> float:
    """Two-sided p of "the map adds nothing" over all victims' pairs, as `tell_apart` told them."""
    if not len(pairs["both"]):
        return 1.0
    observed = (pairs["both"] - pairs["confidence"]).mean().abs() * (1 - 1e-12)
    reached = int((pairs["chance"].mean(dim=0).abs() >= observed).sum())
    return (1 + reached) / (1 + pairs["chance"].shape[1])


def _swaps(image: Tensor, seed: int) -> Tensor:
    """0 or 1 for every row and swap, `(n, SWAPS)`; an image has the same wherever it comes."""
    images, position = image.unique(return_inverse=True)
    rows = [
        torch.randint(2, (SWAPS,), generator=torch.Generator().manual_seed(seed * IMAGES_APART + number))
        for number in images.tolist()
    ]
    return torch.stack(rows)[position]
