"""Does a map look attacked? A detector that is trained on maps of the very attack, with a set share of false alarms.

This is the detector of the study `explanation_reliability`, without its matching of pairs: what is counted here are
alarms, whatever in the map gives them, the victim's confidence included.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cam_adv.metrics.conformal import conformal_rank
from cam_adv.metrics.detector import assign_folds, held_out_scores
from cam_adv.studies.explanation_reliability.maps import downsample


def map_alarms(
    attacked: tuple[Tensor, Tensor],
    calibration: tuple[Tensor, Tensor],
    honest: tuple[Tensor, Tensor],
    cluster: Tensor,
    level: float,
    folds: int,
    seed: int,
) -> tuple[Tensor, Tensor] | None:
    """On which attacked and on which honest maps a detector gives an alarm.

    Every map is scored by a detector that was trained on the others, without its fold. The threshold is the conformal
    quantile of the scores of calibration maps: of maps like these it exceeds a share of `level` or less.

    Args:
        attacked, calibration, honest: maps `(N, h, w)` and their classes y `(N,)`: of attacked images, of honest ones
            that set the threshold, and of honest ones on which it is only tried.
        cluster: of each attacked map, `(N,)`; those of a cluster depend on each other, and share a fold.
        level: largest share of false alarms.
        folds: of the cross-validation.
        seed: of the folds.

    Returns:
        `(N,)` bool of the attacked and of the honest maps; None where the maps are too few (`can_be_detected`).
    """
    parts = (attacked, calibration, honest)
    counts = [len(label) for _, label in parts]
    if not can_be_detected(cluster, counts[1], level, folds):
        return None
    generator = torch.Generator().manual_seed(seed)
    groups = cluster, torch.arange(counts[1]), torch.arange(counts[2])
    fold = torch.cat([assign_folds(group, folds, generator) for group in groups])
    features = map_features(*(torch.cat(column) for column in zip(*parts, strict=True)))
    is_attacked, is_calibration, is_honest = torch.eye(3, dtype=torch.bool).repeat_interleave(torch.tensor(counts), 1)
    alarm = detector_alarms(features, is_attacked, is_calibration, fold, level)
    return alarm[is_attacked], alarm[is_honest]


def can_be_detected(cluster: Tensor, calibration: int, level: float, folds: int) -> bool:
    """Whether each fold can have an attacked map, and the calibration maps have a quantile at this level.

    Args:
        cluster: of each attacked map, `(N,)`. calibration: number of these maps. level, folds: as of `map_alarms`.
    """
    return len(cluster.unique()) >= folds and conformal_rank(calibration, level) <= calibration


def map_features(maps: Tensor, label: Tensor) -> Tensor:
    """What the detector sees of maps `(N, h, w)` of classes y `(N,)`: `(N, F)`."""
    return torch.cat([downsample(maps).flatten(1).double(), one_hot(label).double()], dim=1)


def detector_alarms(
    features: Tensor, is_attacked: Tensor, is_calibration: Tensor, fold: Tensor, level: float
) -> Tensor:
    """Which rows score above the conformal quantile of the calibration rows, in the shape of `is_attacked`.

    Args:
        features: `(n, F)`.
        is_attacked: what the detector is trained to tell from the rest, `(n,)` bool, or several such columns
            `(n, B)`, each with a detector of its own.
        is_calibration: `(n,)` bool. fold: `(n,)`.
        level: largest share of false alarms, for which there are calibration rows enough.
    """
    scores = held_out_scores(features, is_attacked, fold)
    rank = conformal_rank(int(is_calibration.sum()), level)
    return scores > scores[is_calibration].sort(dim=0).values[rank - 1]
