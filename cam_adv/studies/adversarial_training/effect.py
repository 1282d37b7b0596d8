"""Does a training improve robustness against an attack? Decided by a rule that is fixed before anything is measured.

The rule uses the change of the attack's success rate relative to the victims without adversarial training, each
compared with one of them on the same images. With p of "the change is −min_effect", adjusted by Holm for all
comparisons of the table, the training

- improves robustness (yes): p is at most 1 − level, and the success rate falls by more than min_effect;
- does not (no): p is at most 1 − level, and any fall is smaller than min_effect;
- undecided: otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.crossed_effects import crossed_mean
from cam_adv.metrics.intervals import Interval
from cam_adv.metrics.significance import holm

Key = TypeVar("Key")


@dataclass(frozen=True)
class Effect:
    """How a training changes an attack's success rate, and whether that improves robustness.

    change: with its own interval. p: adjusted.
    """

    change: Interval
    p: float
    improves_robustness: Answer


def measure_effects(changes: Mapping[Key, Tensor], min_effect: float, level: float) -> dict[Key, Effect]:
    """The effects of all comparisons of a table, which are corrected together.

    Args:
        changes: success less that of the victim without adversarial training, -1, 0 or 1 for each victim and image,
            `(V, I)`.
        min_effect: the smallest fall of the success rate that counts, in (0, 1).
        level: of the intervals; the tests work at 1 − level.
    """
    means = {key: crossed_mean(change) for key, change in changes.items()}
    p_values = torch.tensor([mean.p_value(-min_effect) for mean in means.values()], dtype=torch.float64)
    effects = {}
    for (key, mean), p in zip(means.items(), holm(p_values).tolist(), strict=True):
        decided: Answer = "yes" if mean.centre < -min_effect else "no"
        effects[key] = Effect(mean.interval(level), p, decided if p <= 1 - level else "undecided")
    return effects
