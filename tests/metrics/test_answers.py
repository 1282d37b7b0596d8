"""Answers: their negation and conjunction."""

import pytest

from cam_adv.metrics.answers import Answer, all_hold, negate


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(["yes", "yes"], "yes"), (["yes", "undecided"], "undecided"), (["undecided", "no"], "no")],
)
def test_all_hold_is_yes_only_if_every_part_is(parts: list[Answer], expected: Answer) -> None:
    assert all_hold(parts) == expected


def test_negate_keeps_undecided() -> None:
    answers: tuple[Answer, ...] = ("yes", "no", "undecided")
    assert [negate(answer) for answer in answers] == ["no", "yes", "undecided"]
