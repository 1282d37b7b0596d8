"""Do unattacked images give more alarms than honest ones? The control of a study of attacks, as a permutation test.

The detector is trained on the images of the control, too, so that their alarms depend on each other, and no binomial
interval holds. Exchanging them with honest images shows what chance gives.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from cam_adv.metrics.detector import assign_folds
from cam_adv.metrics.significance import holm
from cam_adv.studies.robust_explanation.concealment import ExplainedImages
from cam_adv.studies.robust_explanation.map_alarm import can_be_detected, detector_alarms, map_features

SIGNIFICANCE = 0.05
"""Largest probability that a control which is as it should be is said not to be, over all explanations."""


def smallest_adjusted_p(permutations: int, explanations: int) -> float:
    """The smallest p-value that so many permutations can give, corrected for so many explanations."""
    return explanations / (1 + permutations)


def control_p_value(
    unchanged: ExplainedImages,
    calibration: ExplainedImages,
    honest: ExplainedImages,
    level: float,
    folds: int,
    permutations: int,
    seed: int,
) -> float | None:
    """The p-value of "unattacked images give no more alarms than honest ones", by abstention or by the map.

    Each permutation draws anew, within the folds, which of the unattacked and honest images play the unattacked ones,
    with a detector of its own. Where both are drawn from the same images, a p-value of `a` or less has a probability
    of `a` at most, whatever the calibration images are.

    Args:
        unchanged, calibration, honest, level, folds, seed: as `give_alarms`, of the images themselves.
        permutations: number of draws.

    Returns:
        By abstention alone where there are too few maps for a detector; None where nothing abstains, either.
    """
    parts = (unchanged, calibration, honest)
    counts = torch.tensor([len(one.y) for one in parts])
    maps, abstained, y = (torch.cat([getattr(one, name) for one in parts]) for name in ("maps", "abstained", "y"))
    is_unchanged, is_calibration, _ = torch.eye(3, dtype=torch.bool).repeat_interleave(counts, 1)
    generator = torch.Generator().manual_seed(seed)
    fold = torch.cat([assign_folds(torch.arange(count), folds, generator) for count in counts.tolist()])
    drawn = _draw_within_folds(is_unchanged, ~is_calibration, fold, permutations, generator)
    alarm, shown = abstained.unsqueeze(1).repeat(1, drawn.shape[1]), ~abstained
    images = (shown & is_unchanged).nonzero()
    if can_be_detected(images, int((shown & is_calibration).sum()), level, folds):
        features = map_features(maps[shown], y[shown])
        alarm[shown] = detector_alarms(features, drawn[shown], is_calibration[shown], fold[shown], level)
    elif not abstained.any():
        return None
    counted = (alarm & drawn).sum(dim=0)
    return (counted >= counted[0]).double().mean().item()


def adjust_p_values(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """The same, corrected by Holm for their number; None stays None."""
    known = {name: p for name, p in p_values.items() if p is not None}
    adjusted = holm(torch.tensor(list(known.values()), dtype=torch.float64)).tolist()
    return dict(p_values) | dict(zip(known, adjusted, strict=True))


def _draw_within_folds(
    chosen: Tensor, movable: Tensor, fold: Tensor, permutations: int, generator: torch.Generator
) -> Tensor:
    """`chosen` `(n,)` itself, then with the `movable` rows of each fold permuted: `(n, 1 + permutations)` bool."""
    drawn = chosen.unsqueeze(1).repeat(1, 1 + permutations)
    for number in fold.unique():
        rows = movable & (fold == number)
        order = torch.rand(int(rows.sum()), permutations, generator=generator).argsort(dim=0)
        drawn[rows, 1:] = chosen[rows][order]
    return drawn
