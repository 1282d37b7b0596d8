"""Answers to a claim by a rule that was fixed before the measurement."""

from collections.abc import Iterable
from typing import Literal

Answer = Literal["yes", "no", "undecided"]


def negate(answer: Answer) -> Answer:
    """The answer to the contrary of the claim."""
    negations: dict[Answer, Answer] = {"yes": "no", "no": "yes", "undecided": "undecided"}
    return negations[answer]


def all_hold(answers: Iterable[Answer]) -> Answer:
    """Yes if every answer is yes, no if any is no, otherwise undecided."""
    given = set(answers)
    return "no" if "no" in given else "undecided" if "undecided" in given else "yes"
