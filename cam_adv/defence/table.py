"""What was measured of each victim, and what follows for the claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from cam_adv.defence.effect import Answer, Effect, all_hold, effect, helps_only_against
from cam_adv.evaluation.intervals import Rate, wilson
from cam_adv.evaluation.verdict import Verdict
from cam_adv.settings import Kind

NONE = "none"
"""The victim that was trained against no attack, beside which the others are read."""


@dataclass(frozen=True)
class Row:
    """One victim.

    accuracy: on all test images, as they are.
    rates: attack → each question of the verdict → how often the answer was yes, with Wilson 95% intervals.
    effects: attack → what this training does against it; empty for the plain victim.
    """

    accuracy: Rate
    rates: dict[str, dict[str, Rate]]
    effects: dict[str, Effect]


@dataclass(frozen=True)
class DefenceTable:
    """Rows by training, the plain victim first; the kinds of the attacks, in the order of the columns."""

    rows: dict[str, Row]
    kinds: dict[str, Kind]
    images: int
    matters: float

    @classmethod
    def of(
        cls,
        accuracy: Mapping[str, Rate],
        verdicts: Mapping[str, Mapping[str, Verdict]],
        kinds: Mapping[str, Kind],
        matters: float,
    ) -> "DefenceTable":
        """
        Args:
            accuracy: by training.
            verdicts: training → attack → what was judged of the same images in the same order.
            kinds: of the attacks.
            matters: the smallest fall of success that counts as help.
        """
        rows = {}
        for training, by_attack in verdicts.items():
            rates = {
                attack: {name: wilson(int(said.sum()), len(said)) for name, said in vars(verdict).items()}
                for attack, verdict in by_attack.items()
            }
            effects = {
                attack: effect(verdicts[NONE][attack].success, verdict.success, matters)
                for attack, verdict in by_attack.items()
                if training != NONE
            }
            rows[training] = Row(accuracy[training], rates, effects)
        return cls(rows, dict(kinds), len(next(iter(verdicts[NONE].values())).success), matters)

    def only_own_kind(self) -> dict[str, Answer]:
        """By training against one kind: does it help against every attack of that kind, and against no other?"""
        return {
            kind: helps_only_against(kind, self.rows[kind].effects, self.kinds)
            for kind in get_args(Kind)
            if kind in self.rows
        }

    def claim(self) -> Answer:
        """Does each training against one kind help against its own kind only? Undecided where one was left out."""
        answers = self.only_own_kind()
        return all_hold(answers.values()) if len(answers) == len(get_args(Kind)) else "undecided"
