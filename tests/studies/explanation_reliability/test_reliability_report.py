"""JSON record, CSV table and page of the study, with and without measurements."""

import csv
import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reliability_config import make_config

from cam_adv.metrics.intervals import wilson
from cam_adv.studies.explanation_reliability.claims import (
    CLAIMS,
    Claims,
    Findings,
    primary_findings,
    ranking,
    withhold,
)
from cam_adv.studies.explanation_reliability.concealment import N_PERMUTATIONS, PAIR_COLUMNS
from cam_adv.studies.explanation_reliability.finding import NO_ESTIMATE, NO_FINDING, Estimate, Finding
from cam_adv.studies.explanation_reliability.measurements import Measurements
from cam_adv.studies.explanation_reliability.meta_evaluation import (
    SENTENCES,
    KnownAnswer,
    Status,
    known_answers_to_json,
)
from cam_adv.studies.explanation_reliability.page import write_page
from cam_adv.studies.explanation_reliability.power import power_to_json, study_power
from cam_adv.studies.explanation_reliability.report import (
    NOTHING_MEASURED_TEXT,
    VERDICT_TEXTS,
    WITHHELD_TEXT,
    findings_to_json,
    print_reliability,
    reliability_figure,
    verdict_text,
    write_measures,
)

ATTACKS = ("attack", "high_confidence_attack")
NAMES = {"dataset": "digits", "victim": "gap_cnn", "attack": "type1"}
RATES = {name: {"success": wilson(3, 12)} for name in ATTACKS}


def measured_findings(rows: int) -> Findings:
    """Findings of the claims on `rows` rows, all of different images."""
    config, index = make_config(), torch.arange(rows)
    names = ("attack", *config.controls)
    key = {"victim": torch.zeros_like(index), "image": index, "start": index}
    table = dict(key)
    table |= {f"map_dissimilarity {name}": torch.linspace(0, 1, rows + 2)[1:-1] for name in names}
    table |= {f"keeps {name}": torch.ones(rows) for name in config.controls}
    ranked = ("x", "attack", "mean_map", "ink", *config.matched)
    table |= {f"advantage {name}": torch.linspace(0, 1, rows + 2)[1:-1] for name in ranked}
    pairs = key | dict.fromkeys(PAIR_COLUMNS, torch.ones(rows))
    pairs["null"] = torch.zeros(rows, N_PERMUTATIONS)
    return Claims(config).decide({"cam": Measurements(table, pairs, pairs)})


def page_of(findings: Findings, folder: Path, status: Status = "right", changed_since: Sequence[str] = ()) -> str:
    """Of one explanation, with the same findings under another attack."""
    by_attack = dict.fromkeys(ATTACKS, findings)
    known = [KnownAnswer("reversed", "instability", "yes", "no", status, NO_FINDING)]
    content = {
        "plan": {"digest": "0123456789ab", "changed_since": changed_since},
        "power": power_to_json(study_power(make_config())),
        "arms": {"type1_cam": findings_to_json(by_attack)},
        "meta_evaluation": known_answers_to_json(known),
        "attributions": findings_to_json(by_attack),
    }
    content = json.loads(json.dumps(content, allow_nan=False))
    write_page(make_config(), NAMES, content, ranking(primary_findings(by_attack)), RATES, folder)
    return html.unescape((folder / "explanation_reliability.html").read_text())


def test_page_of_measured_effects_shows_numbers_and_details(tmp_path: Path) -> None:
    page = page_of(measured_findings(rows=12), tmp_path)
    assert "<td>cam</td>" in page
    assert "nothing measured" not in page
    assert "dissimilarity 0.50, +0.00 beyond reconstruction (100% keep the class), +0.00 beyond real_pair" in page
    assert "AUC 1.00 by the map, 1.00 by confidence" in page
    assert (
        "100% (71% to 100%) of the maps pass the detector, 100% one on confidence, 100% the rule of a reader" in page
    )
    assert "digest 0123456789ab" in page
    assert "verdict nothing-to-lose" in page
    assert re.search(r"<td>high confidence attack</td><td[^>]*>25.0%", page)
    assert "<h2>The verdicts under type1_cam</h2>" in page
    assert "is not the one that this run was made by" not in page


def test_page_says_what_of_the_plan_was_changed(tmp_path: Path) -> None:
    page = page_of(measured_findings(rows=12), tmp_path, changed_since=["digest", "study.min_effect.passing"])
    assert "is not the one that this run was made by; it differs in\ndigest, study.min_effect.passing." in page


@pytest.mark.parametrize(("status", "count"), [("right", 1), ("wrong", 2), ("too few images", 2)])
def test_page_says_at_its_top_if_a_known_answer_came_out_wrong(status: Status, count: int, tmp_path: Path) -> None:
    page = page_of(withhold(measured_findings(rows=12)), tmp_path, status)
    assert page.count(SENTENCES[status]) == count  # at the top and beside the table
    assert page.count(WITHHELD_TEXT) == 2 * len(CLAIMS)


@pytest.mark.parametrize("rows", [0, 1])
def test_page_of_too_few_rows_says_nothing_measured(rows: int, tmp_path: Path) -> None:
    """The details are there, but without an effect."""
    findings = measured_findings(rows)
    assert all(finding.details for finding in findings["cam"].values())
    findings = {"cam": {claim: replace(finding, estimate=NO_ESTIMATE) for claim, finding in findings["cam"].items()}}
    page = page_of(findings, tmp_path)
    assert page.count("nothing measured") == page.count(NOTHING_MEASURED_TEXT) == 2 * len(CLAIMS)


def test_page_of_an_attack_without_success_says_nothing_measured(tmp_path: Path) -> None:
    page = page_of({"cam": dict.fromkeys(CLAIMS, NO_FINDING)}, tmp_path)
    assert page.count("nothing measured") == 2 * len(CLAIMS)


def test_findings_to_json_holds_the_other_attack_and_no_nan() -> None:
    findings = {"cam": dict.fromkeys(CLAIMS, NO_FINDING)}
    content = findings_to_json({"attack": measured_findings(rows=12), "high_confidence_attack": findings})
    instability, concealment = content["cam"]["instability"], content["cam"]["concealment"]
    assert instability["attack"] == "attack"
    assert list(instability["other_attacks"]) == ["high_confidence_attack"]
    assert concealment["attack"] == "high_confidence_attack"
    assert concealment["effect"] is None
    assert concealment["verdict_text"] == NOTHING_MEASURED_TEXT
    assert concealment["other_attacks"]["attack"]["effect"] == pytest.approx(0)
    json.dumps(content, allow_nan=False)


def test_verdict_text_of_every_decided_verdict_is_its_own() -> None:
    found = Estimate(0.1, 0.0, 0.2, 1.0, 1.0, 50, 50, 50)
    texts = {verdict_text(claim, Finding(found, verdict, {})) for claim, verdict in VERDICT_TEXTS}
    assert texts == set(VERDICT_TEXTS.values())
    assert verdict_text("instability", Finding(found, "undecided", {})).startswith("Undecided")


def test_print_reliability_and_figure_without_effects(capsys: pytest.CaptureFixture[str]) -> None:
    findings = {"cam": dict.fromkeys(CLAIMS, NO_FINDING)}
    print_reliability(findings, ["cam"])
    assert "H3 concealment" in capsys.readouterr().out
    figure = reliability_figure(findings, ["cam"], make_config().min_effect)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "H1 instability",
        "H2 unfaithfulness",
        "H3 concealment",
    ]


def test_write_measures_means_leave_out_nan(tmp_path: Path) -> None:
    rows = {
        "victim": torch.tensor([3, 3]),
        "image": torch.tensor([0, 1]),
        "map_dissimilarity attack": torch.tensor([0.25, 0.75]),
        "spearman real_pair": torch.tensor([0.5, math.nan]),
    }
    write_measures({"attack": [{"cam": Measurements(rows, {}, {})}]}, tmp_path / "measures.csv")
    with (tmp_path / "measures.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["attack", "victim", "attribution", "measure", "comparison", "mean", "rows"],
        ["attack", "3", "cam", "map_dissimilarity", "attack", "0.500000", "2"],
        ["attack", "3", "cam", "spearman", "real_pair", "0.500000", "1"],
    ]
