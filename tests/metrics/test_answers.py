"""Answers: their negation."""

from cam_adv.metrics.answers import Answer, negate


def test_negate_keeps_undecided() -> None:
    answers: tuple[Answer, ...] = ("yes", "no", "undecided")
    assert [negate(answer) for answer in answers] == ["no", "yes", "undecided"]
