"""Does a training improve robustness against an attack? Decided by a rule that is fixed before anything is measured.

The rule uses the change of the attack's success rate relative to the victims without adversarial training, each
compared with one of them on the same images. With p of "the change is −min_effect", adjusted by Holm for all
trainings and measures of the table, the training

- improves robustness (yes): p is at most 1 − level, and the success rate falls by more than min_effect;
- does not (no): p is at most 1 − level, and any fall is smaller than min_effect;
- undecided: otherwise.

The negative control, the same training from other seeds, does nothing. It must be shown to change the success rate by
less than min_effect in either direction, by two one-sided tests (Schuirmann 1987) at 1 − level. Where it is not, the
verdicts on all trainings are withheld. Its p is not corrected for the other comparisons: it checks a known truth
instead of making a discovery. With 5 + 5 victims and 80 images a control that does nothing passes with a probability
(simulated, success on 65 or 95% of images, mostly the same ones for all victims) of 93 to 99% where the success rates
of victims have a standard deviation of 2 points, 70% with 4, 20% with 8.

Five victims are too few for a bootstrap over victims, so that the tests are those of `crossed_mean`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.intervals import Interval
from cam_adv.metrics.significance import CrossedMean, crossed_mean, holm

Key = TypeVar("Key")

Verdict = Answer | Literal["withheld"]

MIN_CLUSTERS = 10
"""With fewer clusters of images nothing is decided: their spread is known too poorly."""


@dataclass(frozen=True)
class Change:
    """The change of an attack's success on the same images.

    values: success of one victim less that of another, -1, 0 or 1 for each pair of victims and each image, `(V, I)`.
    cluster: number of each image's cluster, any integers, `(I,)`; images of one cluster depend on each other.
    """

    values: Tensor
    cluster: Tensor

    def interval(self, level: float) -> Interval:
        """Of the mean change, for victims and images in general."""
        found = self._mean().interval(level)
        return Interval(self.values.double().mean().item(), max(-1.0, found.low), min(1.0, found.high))

    def p_values(self, threshold: float) -> tuple[float, float]:
        """See `CrossedMean.p_values`; both 1 with fewer than `MIN_CLUSTERS` clusters."""
        if len(self.cluster.unique()) < MIN_CLUSTERS:
            return 1.0, 1.0
        return self._mean().p_values(threshold)

    def _mean(self) -> CrossedMean:
        """With two more images whose values are ±√½ for every pair of victims.

        Agresti and Min (2005, Statistics in Medicine 24:729) add half an image to each cell of paired outcomes in the
        same way, which gives an error to a table whose values are all equal.
        """
        pairs = len(self.values)
        added = math.sqrt(0.5) * torch.tensor([1.0, -1.0], dtype=torch.float64).expand(pairs, 2)
        table = torch.cat([self.values.double(), added], dim=1)
        cluster = torch.cat([self.cluster, self.cluster.max() + torch.tensor([1, 2])])
        image = torch.arange(len(cluster)).repeat(pairs)
        pair = torch.arange(pairs).repeat_interleave(len(cluster))
        return crossed_mean(table.flatten(), pair, image, cluster[image])


@dataclass(frozen=True)
class Effect:
    """How a training changes an attack's success rate, and whether that improves robustness.

    change: with its own interval. p: two-sided, of "the change is −min_effect", adjusted.
    """

    change: Interval
    p: float
    improves_robustness: Verdict


@dataclass(frozen=True)
class ControlCheck:
    """Whether the negative control comes out as what it is.

    change: of the success rate, with its interval. p: of "the change is min_effect or more, in one direction".
    does_nothing: no: a larger change is shown.
    """

    change: Interval
    p: float
    does_nothing: Answer


def measure_effects(changes: Mapping[Key, Change], min_effect: float, level: float) -> dict[Key, Effect]:
    """The effects of all comparisons of a table, which are corrected together.

    Args:
        changes: from the victims without adversarial training to those of a training.
        min_effect: the smallest fall of the success rate that counts, in (0, 1).
        level: of the intervals; the tests work at 1 − level.
    """
    tests = {key: change.p_values(-min_effect) for key, change in changes.items()}
    two_sided = torch.tensor([min(1.0, 2 * min(both)) for both in tests.values()], dtype=torch.float64)
    effects = {}
    for (key, (above, below)), p in zip(tests.items(), holm(two_sided).tolist(), strict=True):
        decided: Answer = "yes" if below < above else "no"
        effects[key] = Effect(changes[key].interval(level), p, decided if p <= 1 - level else "undecided")
    return effects


def check_control(change: Change, min_effect: float, level: float) -> ControlCheck:
    """The check of the control on one measure; args as `measure_effects`, the change that of the control."""
    (above_fall, below_fall), (above_rise, below_rise) = map(change.p_values, (-min_effect, min_effect))
    p = max(above_fall, below_rise)
    does_nothing: Answer = "undecided"
    if p <= 1 - level:
        does_nothing = "yes"
    elif 2 * min(below_fall, above_rise) <= 1 - level:
        does_nothing = "no"
    return ControlCheck(change.interval(level), p, does_nothing)
