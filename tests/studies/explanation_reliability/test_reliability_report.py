"""JSON record, CSV table and page of the study, with and without measurements."""

import csv
import html
import json
import math
from pathlib import Path

import pytest
import torch
from reliability_config import make_config

from cam_adv.metrics.intervals import wilson
from cam_adv.studies.explanation_reliability.claims import CLAIMS, Claims, Findings, primary_findings, ranking
from cam_adv.studies.explanation_reliability.concealment import N_PERMUTATIONS, PAIR_COLUMNS
from cam_adv.studies.explanation_reliability.finding import NO_FINDING, Estimate, Finding
from cam_adv.studies.explanation_reliability.measurements import Measurements
from cam_adv.studies.explanation_reliability.page import write_page
from cam_adv.studies.explanation_reliability.report import (
    NOTHING_MEASURED_TEXT,
    VERDICT_TEXTS,
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
    config, index = make_config(n_resamples=100), torch.arange(rows)
    names = ("attack", *config.controls)
    table = {"victim": torch.zeros_like(index), "image": index}
    table |= {f"map_dissimilarity {name}": torch.linspace(0, 1, rows + 2)[1:-1] for name in names}
    table |= {f"advantage {key}": torch.linspace(0, 1, rows + 2)[1:-1] for key in ("x", "attack", "mean_map")}
    pairs = {"victim": torch.zeros_like(index), "image": index} | dict.fromkeys(PAIR_COLUMNS, torch.ones(rows))
    pairs["null"] = torch.zeros(rows, N_PERMUTATIONS)
    claims = Claims(config, seed=0)
    found = (
        claims.instability({"cam": table}),
        claims.unfaithfulness({"cam": table}),
        claims.concealment({"cam": pairs}),
    )
    return {"cam": {claim: of["cam"] for claim, of in zip(CLAIMS, found, strict=True)}}


def page_of(findings: Findings, folder: Path) -> str:
    by_attack = dict.fromkeys(ATTACKS, findings)
    content = json.loads(json.dumps(findings_to_json(by_attack), allow_nan=False))
    write_page(make_config(), NAMES, content, ranking(primary_findings(by_attack)), RATES, folder)
    return html.unescape((folder / "explanation_reliability.html").read_text())


def test_page_of_measured_effects_shows_numbers_and_details(tmp_path: Path) -> None:
    page = page_of(measured_findings(rows=12), tmp_path)
    assert "<td>cam</td>" in page
    assert "nothing measured" not in page
    assert "dissimilarity 0.50, +0.00 beyond real_pair" in page
    assert "AUC 1.00 by the map, 1.00 by confidence; 100% of the maps evade the detector" in page
    assert "The high confidence attack succeeded on 25.0% of its rows" in page


@pytest.mark.parametrize("rows", [0, 1])
def test_page_of_too_few_rows_says_nothing_measured(rows: int, tmp_path: Path) -> None:
    """The details are there, but without an effect."""
    findings = measured_findings(rows)
    assert all(math.isnan(finding.estimate.effect) and finding.details for finding in findings["cam"].values())
    page = page_of(findings, tmp_path)
    assert page.count("nothing measured") == page.count(NOTHING_MEASURED_TEXT) == len(CLAIMS)


def test_page_of_an_attack_without_success_says_nothing_measured(tmp_path: Path) -> None:
    page = page_of({"cam": dict.fromkeys(CLAIMS, NO_FINDING)}, tmp_path)
    assert page.count("nothing measured") == len(CLAIMS)


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
    found = Estimate(0.1, 0.0, 0.2, 1.0, 1.0, 50, 50)
    texts = {verdict_text(claim, Finding(found, verdict, {})) for claim in CLAIMS for verdict in ("yes", "no")}
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
    write_measures({"attack": [{"cam": Measurements(rows, {})}]}, tmp_path / "measures.csv")
    with (tmp_path / "measures.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["attack", "victim", "attribution", "measure", "comparison", "mean", "rows"],
        ["attack", "3", "cam", "map_dissimilarity", "attack", "0.500000", "2"],
        ["attack", "3", "cam", "spearman", "real_pair", "0.500000", "1"],
    ]
