"""Pages whose figures are computed from records, and those that are committed."""

from dataclasses import replace
from pathlib import Path

import pytest

from cam_adv.errors import UserError
from cam_adv.results.__main__ import PAGES, read_records
from cam_adv.results.page import render, results_of
from cam_adv.results.record import Record
from cam_adv.results.registry import RESULTS

ROOT = Path(__file__).parents[2]
SUMMARY = {"success": {"rate": 0.995, "low": 0.972, "high": 0.9991}, "images": 200}
ROWS = [{"attack.eps": 0, "success": 0.5}, {"attack.eps": 1, "success": 0.75}]


def record(values: object) -> Record:
    return Record("cam-adv", "0a", "1b", {}, "", "2026-01-31", 83.6, False, values)


RECORDS = {"digits": record(SUMMARY), "frontier": record(ROWS), "mnist": None}


def test_figures_are_replaced_and_the_rest_of_the_page_stays() -> None:
    page = "a <!-- b --> <!-- =digits.values.success|rate -->old<!-- / --> <!-- =digits|took -->?<!-- / -->"
    rendered = page.replace("old", "99.5% (97.2 to 99.9%)").replace("?", "1 min 24 s")
    assert render(page, RECORDS) == rendered
    assert render(rendered, RECORDS) == rendered


def test_row_of_a_sweep_and_its_table() -> None:
    page = "<!-- =(frontier.values|row(eps=1)).success|percent -->\n?\n<!-- / -->"
    assert render(page, RECORDS).endswith("-->75.0%<!-- / -->")
    table = '<!-- =frontier.values|sweep_table({"attack.eps": "ε", "success": "rate"}) --><!-- / -->'
    assert render(table, RECORDS).splitlines()[1:] == [
        "| ε | rate |",
        "| --- | --- |",
        "| 0 | 0.5 |",
        "| 1 | 0.75 |",
        "<!-- / -->",
    ]


def test_result_that_was_never_made_is_not_measured() -> None:
    page = "<!-- =(mnist.values.a - digits.values.images)|percent -->1%<!-- / -->"
    assert render(page, RECORDS) == page.replace("1%", "not measured")
    assert results_of(page) == {"mnist", "digits"}


def test_origins_say_what_made_each_result() -> None:
    records = RECORDS | {"frontier": replace(record(ROWS), resumed=True)}
    assert render("<!-- =all_results|origins_table --><!-- / -->", records).splitlines()[3:] == [
        "| digits | 1b | 2026-01-31 | 1 min 24 s |  |",
        "| frontier | 1b | 2026-01-31 | 1 min 24 s, the last part |  |",
        "| mnist | not measured |  |  |  |",
        "<!-- / -->",
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "other.values",
        "digits.values.succes|rate",
        "digits.values|rate",
        "digits.values|row(a=1)",
        "digits.|",
        "digits|no",
    ],
)
def test_expression_that_cannot_be_computed_is_named(expression: str) -> None:
    with pytest.raises(UserError) as refused:
        render(f"<!-- ={expression} -->1<!-- / -->", RECORDS)
    assert refused.value.what.startswith(f"{expression} can't be computed: ")


@pytest.mark.parametrize("page", PAGES)
def test_committed_page_is_what_the_committed_records_give(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert render(text, read_records(ROOT)) == text


def test_readme_states_headline_results_alone() -> None:
    headline = {one.name for one in RESULTS if one.headline}
    assert results_of((ROOT / "README.md").read_text(encoding="utf-8")) <= headline
