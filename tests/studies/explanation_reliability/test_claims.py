"""Claims on measured rows with known answers: 3 victims, 40 images, 2 targets."""

import pytest
import torch
from reliability_config import CONTROLS, MATCHED, make_config
from torch import Tensor

from cam_adv.studies.explanation_reliability.claims import CLAIMS, Claims, primary_findings, ranking, withhold
from cam_adv.studies.explanation_reliability.concealment import N_PERMUTATIONS, PAIR_COLUMNS
from cam_adv.studies.explanation_reliability.finding import NO_FINDING, Estimate, Finding
from cam_adv.studies.explanation_reliability.measurements import Measurements

VICTIM = torch.arange(3).repeat_interleave(80)
IMAGE = torch.arange(40).repeat_interleave(2).repeat(3)
NOISE = 0.05 * torch.randn(240, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def claims() -> Claims:
    return Claims(make_config())


def make_rows(**columns: Tensor) -> dict[str, Tensor]:
    return {"victim": VICTIM, "image": IMAGE, "start": IMAGE[:, None]} | columns


def make_pairs(**columns: Tensor) -> dict[str, Tensor]:
    null = 0.02 * torch.randn(240, N_PERMUTATIONS, generator=torch.Generator().manual_seed(4))
    return make_rows(**dict.fromkeys(PAIR_COLUMNS, torch.ones(240)) | {"null": null} | columns)


def make_dissimilarities(attack: float, **controls: float) -> dict[str, Tensor]:
    values = dict.fromkeys(CONTROLS, 0.2) | controls
    columns = {f"map_dissimilarity {name}": torch.full((240,), value) for name, value in values.items()}
    keeps = {f"keeps {name}": torch.ones(240) for name in values}
    return make_rows(**columns, **keeps, **{"map_dissimilarity attack": attack + NOISE})


def test_instability_requires_more_change_than_every_matched_control(claims: Claims) -> None:
    found = claims.instability(
        {
            "shifted": make_dissimilarities(0.6),
            "equal": make_dissimilarities(0.2),
            "one matched control changes as much": make_dissimilarities(0.6, real_pair=0.6),
            "the unmatched transition changes more": make_dissimilarities(0.6, transition=0.9),
        }
    )
    assert [finding.verdict for finding in found.values()] == ["yes", "no", "no", "yes"]
    assert found["shifted"].estimate.effect == pytest.approx(0.4, abs=0.02)
    assert found["shifted"].estimate.images == 40
    assert found["shifted"].estimate.clusters == 40
    assert found["equal"].estimate.p_below < 0.05
    details = found["the unmatched transition changes more"].details
    assert details["attack - transition"].high < 0
    assert details["attack"].effect == pytest.approx(0.6, abs=0.02)


def test_instability_leaves_out_controls_that_lose_the_class(claims: Claims) -> None:
    """Half of one control's rows are not usable, and would turn the answer."""
    rows = make_dissimilarities(0.6)
    lost = torch.arange(240) % 4 < 2  # both targets of every second image
    rows["map_dissimilarity real_pair"] = torch.where(lost, torch.nan, 0.2)
    rows["keeps real_pair"] = (~lost).double()
    found = claims.instability({"cam": rows})["cam"]
    assert found.verdict == "yes"
    assert found.details["keeps real_pair"].effect == 0.5
    assert (found.details["attack - real_pair"].rows, found.details["attack - real_pair"].images) == (120, 20)


def make_advantages(attack: Tensor, x: float = 0.5, control: float = 0.5, **others: float) -> dict[str, Tensor]:
    values = {"x": x, "mean_map": 0.2, "ink": 0.3} | dict.fromkeys(MATCHED, control) | others
    columns = {f"advantage {key}": value + NOISE.flip(0) for key, value in values.items()}
    return make_rows(**columns, **{"advantage attack": attack})


def test_unfaithfulness_requires_a_loss_beyond_every_control(claims: Claims) -> None:
    found = claims.unfaithfulness(
        {
            "lost": make_advantages(NOISE),
            "kept": make_advantages(0.5 + NOISE),
            "lost under a control, too": make_advantages(NOISE, real_pair=0.0),
            "no more than the mean map": make_advantages(NOISE, mean_map=0.5),
            "no more than the ink": make_advantages(NOISE, ink=0.5),
        }
    )
    assert [finding.verdict for finding in found.values()] == ["yes", "no", "no", *["nothing to lose"] * 2]
    assert found["lost"].estimate.effect == pytest.approx(0.5, abs=0.02)
    assert found["lost"].details["attack"].effect == pytest.approx(0, abs=0.02)
    assert found["lost"].details["x - mean_map"].effect == pytest.approx(0.3, abs=0.02)


CHANCE, SURE = 0.5 + NOISE, torch.ones(240)
PASSING = (torch.arange(240) % 60 > 0).double()
REVEALED = make_pairs(map=SURE, confidence=CHANCE, both=SURE, evades_both=0 * SURE)
CONCEALED = make_pairs(map=CHANCE, confidence=CHANCE, both=CHANCE, evades=PASSING, evades_both=PASSING)


def test_concealment_requires_no_added_auc_and_passing_maps(claims: Claims) -> None:
    caught = make_pairs(map=SURE, confidence=CHANCE, both=CHANCE, evades_both=0 * SURE)
    added = make_pairs(map=SURE, confidence=CHANCE, both=SURE)
    unmatched = make_pairs(map=SURE, confidence=SURE, both=SURE)
    by_confidence = CONCEALED | dict.fromkeys(("evades", "evades_confidence", "evades_both"), 0 * SURE)
    found = claims.concealment(
        {
            "revealed": (REVEALED, REVEALED),
            "concealed": (CONCEALED, CONCEALED),
            "adds nothing but is caught": (caught, caught),
            "passes but adds": (added, added),
            "not matched": (unmatched, REVEALED),
            "caught by confidence alone": (by_confidence, by_confidence),
        }
    )
    assert [finding.verdict for finding in found.values()] == ["no", "yes", "no", "no", "undecided", "yes"]
    assert found["revealed"].estimate.effect == pytest.approx(0.5, abs=0.02)
    assert found["concealed"].details["evades"].effect == pytest.approx(59 / 60)


def test_concealment_among_reconstructions_is_a_verdict_of_its_own(claims: Claims) -> None:
    nothing = {column: values[:0] for column, values in REVEALED.items()}
    unmatched = make_pairs(map=SURE, confidence=SURE, both=SURE, evades_both=0 * SURE)
    found = claims.concealment(
        {
            "reveals the generator": (REVEALED, CONCEALED),
            "passes as real": (CONCEALED, REVEALED),
            "no reconstruction is matched": (REVEALED, nothing),
            "reconstructions differ in confidence": (REVEALED, unmatched),
        }
    )
    assert [finding.verdict for finding in found.values()] == ["no", "yes", "no", "no"]
    among = [finding.among_reconstructions for finding in found.values()]
    assert among == ["yes", "no", "undecided", "undecided"]
    assert found["passes as real"].details["reconstructed AUC of map - 0.5"].effect == pytest.approx(0.5)
    withheld = withhold({"cam": {"concealment": found["passes as real"]}})["cam"]["concealment"]
    assert withheld.among_reconstructions == "withheld"


def test_decide_is_about_the_claims_that_were_measured(claims: Claims) -> None:
    measured = {
        "cam": Measurements(make_dissimilarities(0.6), {}, {}),
        "other": Measurements({}, CONCEALED, CONCEALED),
    }
    found = claims.decide(measured)
    assert {name: list(by_claim) for name, by_claim in found.items()} == {
        "cam": ["instability"],
        "other": ["concealment"],
    }
    assert withhold(found)["cam"]["instability"].verdict == "withheld"
    assert withhold(found)["cam"]["instability"].estimate == found["cam"]["instability"].estimate


def make_finding(effect: float) -> Finding:
    return Finding(Estimate(effect, effect, effect, 1, 1.0, 50, 50, 50), "undecided", {})


def test_ranking_is_by_the_mean_rank_in_the_claims() -> None:
    findings = {
        "fooled": dict(zip(CLAIMS, map(make_finding, (0.9, 0.9, 0.0)), strict=True)),
        "robust": dict(zip(CLAIMS, map(make_finding, (0.1, 0.1, 0.4)), strict=True)),
        "unknown": dict.fromkeys(CLAIMS, NO_FINDING),
    }
    assert ranking(findings) == ["robust", "fooled", "unknown"]


def test_primary_findings_take_concealment_from_the_high_confidence_attack() -> None:
    attack, high_confidence = make_finding(0.1), make_finding(0.2)
    found = primary_findings(
        {
            "attack": {"cam": dict.fromkeys(CLAIMS, attack)},
            "high_confidence_attack": {"cam": dict.fromkeys(CLAIMS, high_confidence)},
        }
    )
    assert found == {"cam": {"instability": attack, "unfaithfulness": attack, "concealment": high_confidence}}
