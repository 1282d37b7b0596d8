"""How figures are written, by hand."""

import pytest

from cam_adv.results.filters import duration, funnel_table, number, percent, rate, row


def test_rate_of_a_summary_and_of_a_row_of_a_sweep() -> None:
    assert rate({"rate": 0.9951, "low": 0.9722, "high": 0.99912}) == "99.5% (97.2 to 99.9%)"
    assert rate({"judge": 0.5, "judge_low": 0.4, "judge_high": 0.6}, "judge") == "50.0% (40.0 to 60.0%)"


def test_what_is_not_known_is_a_dash() -> None:
    assert (rate(None), percent(None), number(None)) == ("–", "–", "–")
    assert rate({"judge": None, "judge_low": None, "judge_high": None}, "judge") == "–"


def test_numbers() -> None:
    assert (percent(0.0349), number(0.95759), number(1234.5, 5)) == ("3.5%", "0.958", "1234.5")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (174, "2 min 54 s"), (3600, "1 h 0 min"), (7530, "2 h 5 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_row_is_the_only_one_with_these_values() -> None:
    rows = [{"attack.confidence": 0.9, "seed": seed} for seed in (0, 1)]
    assert row(rows, confidence=0.9, seed=1) is rows[1]
    with pytest.raises(ValueError, match=r"2 rows have \{'confidence': 0.9\}"):
        row(rows, confidence=0.9)


def test_funnel_table_by_hand() -> None:
    names = ("attempted", "victim_keeps", "plausible", "judge_reads_target", "success")
    summary = {name: {"rate": 1.0, "low": 1.0, "high": 1.0} for name in names}
    summary |= {
        name: {"rate": 0.25, "low": 0.1, "high": 0.5} for name in ("judge_reads_source", "judge_reads_nothing")
    }
    lines = funnel_table(summary | {"kind": "type1", "images": 8}).splitlines()
    assert lines[:3] == [
        "| of 8 attempted | rate | 95% interval |",
        "| --- | --- | --- |",
        "| attempted | 100.0% |  |",
    ]
    assert lines[-2:] == [
        "| beside: the judge reads y | 25.0% | 10.0 to 50.0% |",
        "| beside: the judge reads nothing | 25.0% | 10.0 to 50.0% |",
    ]
