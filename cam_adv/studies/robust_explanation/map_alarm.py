"""Does a map look attacked? A detector that is trained on maps of the very attack, with a set share of false alarms.

This is the detector of the study `explanation_reliability`, without its matching of pairs: what is counted here are
alarms, whatever in the map gives them, the victim's confidence included.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cam_adv.metrics.detector import assign_folds, held_out_scores
from cam_adv.studies.explanation_reliability.maps import downsample


def map_alarms(
    attacked: tuple[Tensor, Tensor],
    calibration: tuple[Tensor, Tensor],
    honest: tuple[Tensor, Tensor],
    level: float,
    folds: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """On which attacked and on which honest maps a detector gives an alarm.

    Every map is scored by a detector that was trained on the others, without its fold. The threshold is the conformal
    quantile of the scores of calibration maps: of maps like these it exceeds a share of `level` or less.

    Args:
        attacked, calibration, honest: maps `(N, h, w)` and their classes y `(N,)`: of attacked images, of honest ones
            that set the threshold, and of honest ones on which it is only tried.
        level: largest share of false alarms.
        folds: of the cross-validation.
        seed: of the folds.

    Returns:
        `(N,)` bool of the attacked and of the honest maps; no alarm where there are fewer attacked maps than folds,
        from which nothing can be learnt.
    """
    parts = (attacked, calibration, honest)
    counts = [len(label) for _, label in parts]
    if counts[0] < folds:
        return torch.zeros(counts[0], dtype=torch.bool), torch.zeros(counts[2], dtype=torch.bool)
    maps = torch.cat([downsample(part).flatten(1).double() for part, _ in parts])
    labels = torch.cat([label for _, label in parts])
    kind = torch.tensor([1, 0, 0]).repeat_interleave(torch.tensor(counts))
    generator = torch.Generator().manual_seed(seed)
    fold = torch.cat([assign_folds(torch.arange(count), folds, generator) for count in counts])
    scores = held_out_scores(torch.cat([maps, one_hot(labels).double()], dim=1), kind, fold)
    of_attacked, of_calibration, of_honest = scores.split(counts)
    rank = math.ceil((1 - level) * (counts[1] + 1))
    threshold = of_calibration.sort().values[rank - 1] if rank <= counts[1] else torch.inf
    return of_attacked > threshold, of_honest > threshold
