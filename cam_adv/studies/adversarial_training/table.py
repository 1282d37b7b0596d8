"""The measurements of every victim, and the answer to the study's claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from cam_adv.metrics.answers import Answer, all_hold
from cam_adv.metrics.intervals import Rate, wilson
from cam_adv.metrics.success import AttackVerdict
from cam_adv.schema.fields import Kind
from cam_adv.studies.adversarial_training.effect import Effect, improves_only_against, measure_effect

NONE = "none"
"""The victim without adversarial training, with which the others are compared."""


@dataclass(frozen=True)
class VictimRow:
    """One victim.

    accuracy: on all clean test images.
    rates: attack → criterion of the verdict → how often it was met, with Wilson 95% intervals.
    effects: attack → effect of this training on it; empty for the victim without adversarial training.
    """

    accuracy: Rate
    rates: dict[str, dict[str, Rate]]
    effects: dict[str, Effect]


@dataclass(frozen=True)
class AdversarialTrainingTable:
    """Rows by training, starting with `NONE`; the kinds of the attacks, in the order of the columns."""

    rows: dict[str, VictimRow]
    kinds: dict[str, Kind]
    images: int
    min_effect: float

    @classmethod
    def build(
        cls,
        accuracy: Mapping[str, Rate],
        verdicts: Mapping[str, Mapping[str, AttackVerdict]],
        kinds: Mapping[str, Kind],
        min_effect: float,
    ) -> "AdversarialTrainingTable":
        """
        Args:
            accuracy: by training.
            verdicts: training → attack → verdict on the same images in the same order.
            kinds: of the attacks.
            min_effect: the smallest fall of the success rate that counts.
        """
        rows = {}
        for training, by_attack in verdicts.items():
            rates = {
                attack: {criterion: wilson(int(met.sum()), len(met)) for criterion, met in vars(verdict).items()}
                for attack, verdict in by_attack.items()
            }
            effects = {
                attack: measure_effect(verdicts[NONE][attack].success, verdict.success, min_effect)
                for attack, verdict in by_attack.items()
                if training != NONE
            }
            rows[training] = VictimRow(accuracy[training], rates, effects)
        return cls(rows, dict(kinds), len(next(iter(verdicts[NONE].values())).success), min_effect)

    def only_own_kind(self) -> dict[str, Answer]:
        """For each training against one kind: does it improve robustness against all attacks of this kind only?"""
        return {
            kind: improves_only_against(kind, self.rows[kind].effects, self.kinds)
            for kind in get_args(Kind)
            if kind in self.rows
        }

    def claim(self) -> Answer:
        """Does this hold for the trainings against either kind? Undecided where one of them was left out."""
        answers = self.only_own_kind()
        return all_hold(answers.values()) if len(answers) == len(get_args(Kind)) else "undecided"
