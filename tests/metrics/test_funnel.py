"""The funnel in words: which rate stands in which line."""

import pytest

from cam_adv.metrics.funnel import QUESTIONS, judge_rate, rows, victim_rate
from cam_adv.metrics.intervals import Rate
from cam_adv.metrics.summary import AttackSummary

RATES = {name: Rate(0.1 * number, 0.1 * number - 0.05, 0.1 * number + 0.01) for number, name in enumerate(QUESTIONS)}


def test_rows_of_type1_by_hand() -> None:
    assert rows("type1", RATES) == [
        ("attempted", RATES["attempted"]),
        ("the victim keeps y", RATES["victim_keeps"]),
        ("plausible: the judge reads a class", RATES["plausible"]),
        ("the judge reads y'", RATES["judge_reads_target"]),
        ("success: the victim keeps y, the judge reads y'", RATES["success"]),
        ("beside: the judge reads y", RATES["judge_reads_source"]),
        ("beside: the judge reads nothing", RATES["judge_reads_nothing"]),
    ]


def test_rows_of_type1_from_samples_say_that_the_victim_says_y() -> None:
    """It did not say y of the sample, so there is nothing to keep; the rates are the same."""
    usual, from_samples = rows("type1", RATES), rows("type1", RATES, from_samples=True)
    texts = [text for text, _ in from_samples]
    assert (texts[1], texts[4]) == ("the victim says y", "success: the victim says y, the judge reads y'")
    assert [rate for _, rate in from_samples] == [rate for _, rate in usual]
    assert [text for row, text in enumerate(texts) if text != usual[row][0]] == [texts[1], texts[4]]


def test_rows_of_type2_by_hand() -> None:
    leaves = victim_rate("type2", RATES)
    assert rows("type2", RATES) == [
        ("attempted", RATES["attempted"]),
        ("the victim leaves y", leaves),
        ("plausible: the judge reads a class", RATES["plausible"]),
        ("the judge reads y", RATES["judge_reads_source"]),
        ("success: the victim leaves y, the judge reads y", RATES["success"]),
        ("beside: the judge reads y'", RATES["judge_reads_target"]),
        ("beside: the judge reads nothing", RATES["judge_reads_nothing"]),
    ]


def test_victim_and_judge_rate_are_what_the_kind_asks_for() -> None:
    """Leaving is the complement of keeping, so the ends of its interval change places."""
    assert victim_rate("type1", RATES) == RATES["victim_keeps"]
    keeps = RATES["victim_keeps"]
    leaves = victim_rate("type2", RATES)
    assert (leaves.rate, leaves.low, leaves.high) == pytest.approx((1 - keeps.rate, 1 - keeps.high, 1 - keeps.low))
    assert leaves.low < leaves.rate < leaves.high
    assert judge_rate("type1", RATES) == RATES["judge_reads_target"]
    assert judge_rate("type2", RATES) == RATES["judge_reads_source"]


class TestAttackSummary:
    CONTENT = {name: vars(rate) for name, rate in RATES.items()} | {"kind": "type2", "images": 40, "seconds": 8.0}

    def test_is_what_the_file_says(self) -> None:
        summary = AttackSummary.of(self.CONTENT | {"f2_reads_perceived": vars(RATES["success"]), "steps": 3})
        assert summary == AttackSummary("type2", RATES, 40, 8.0)
        assert summary.successes_per_second == pytest.approx(RATES["success"].rate * 40 / 8)

    @pytest.mark.parametrize("missing", [*QUESTIONS, "images", "seconds"])
    def test_other_content_raises(self, missing: str) -> None:
        with pytest.raises(KeyError, match=missing):
            AttackSummary.of({name: value for name, value in self.CONTENT.items() if name != missing})
