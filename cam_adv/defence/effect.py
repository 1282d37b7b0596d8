"""Does a training help against an attack? By a rule that is fixed before anything is measured.

What counts is the change of the attack's success against the plain victim, which was trained against none, on the
same images. The training

- helps (yes): the whole 95% interval of the change lies below −matters;
- does not help (no): the whole interval lies above −matters: the fall, if there is one, is too small to matter;
- undecided: else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from cam_adv.evaluation.intervals import Interval, paired_change
from cam_adv.settings import Kind

Answer = Literal["yes", "no", "undecided"]


@dataclass(frozen=True)
class Effect:
    """By how much a training changes an attack's success, and whether that is help."""

    change: Interval
    helps: Answer


def effect(plain: Tensor, retrained: Tensor, matters: float) -> Effect:
    """Compare an attack's successes on two victims.

    Args:
        plain, retrained: success on the same images in the same order, bool `(N,)`.
        matters: the smallest fall that counts, in (0, 1).
    """
    outcomes = (plain & retrained, plain & ~retrained, ~plain & retrained, ~plain & ~retrained)
    change = paired_change(*(int(outcome.sum()) for outcome in outcomes))
    helps: Answer = "yes" if change.high < -matters else "no" if change.low > -matters else "undecided"
    return Effect(change, helps)


def helps_only_against(kind: Kind, effects: Mapping[str, Effect], kinds: Mapping[str, Kind]) -> Answer:
    """Does a training help against every attack of one kind, and against none of the other?

    Args:
        effects: of the training, by attack.
        kinds: of the attacks.
    """
    opposite: dict[Answer, Answer] = {"yes": "no", "no": "yes", "undecided": "undecided"}
    return all_hold(
        found.helps if kinds[attack] == kind else opposite[found.helps] for attack, found in effects.items()
    )


def all_hold(answers: Iterable[Answer]) -> Answer:
    """Yes where each is yes, no where one is no."""
    given = set(answers)
    return "no" if "no" in given else "undecided" if "undecided" in given else "yes"
