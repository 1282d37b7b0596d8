"""Answers to a claim by a rule that was fixed before the measurement."""

from typing import Literal

Answer = Literal["yes", "no", "undecided"]


def negate(answer: Answer) -> Answer:
    """The answer to the contrary of the claim."""
    negations: dict[Answer, Answer] = {"yes": "no", "no": "yes", "undecided": "undecided"}
    return negations[answer]
