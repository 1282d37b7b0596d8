"""Does a training improve robustness against an attack? Decided by a rule that is fixed before anything is measured.

The rule uses the change of the attack's success rate relative to the victim without adversarial training, on the same
images. The training

- improves robustness (yes): the whole 95% interval of the change is below −min_effect;
- does not (no): the whole interval is above −min_effect, so that any fall is too small to matter;
- undecided: otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from cam_adv.metrics.answers import Answer, all_hold, negate
from cam_adv.metrics.intervals import Interval, newcombe_paired
from cam_adv.schema.fields import Kind


@dataclass(frozen=True)
class Effect:
    """How a training changes an attack's success rate, and whether that improves robustness."""

    change: Interval
    improves_robustness: Answer


def measure_effect(baseline: Tensor, retrained: Tensor, min_effect: float) -> Effect:
    """Compare an attack's successes on two victims.

    Args:
        baseline, retrained: success on the same images in the same order, bool `(N,)`.
        min_effect: the smallest fall of the success rate that counts, in (0, 1).
    """
    outcomes = (baseline & retrained, baseline & ~retrained, ~baseline & retrained, ~baseline & ~retrained)
    change = newcombe_paired(*(int(outcome.sum()) for outcome in outcomes))
    if change.high < -min_effect:
        return Effect(change, "yes")
    return Effect(change, "no" if change.low > -min_effect else "undecided")


def improves_only_against(kind: Kind, effects: Mapping[str, Effect], kinds: Mapping[str, Kind]) -> Answer:
    """Does a training improve robustness against every attack of one kind, and against none of the other?

    Args:
        effects: of the training, by attack.
        kinds: of the attacks.
    """
    return all_hold(
        effect.improves_robustness if kinds[attack] == kind else negate(effect.improves_robustness)
        for attack, effect in effects.items()
    )
