"""Claims on measured rows with known answers: 3 victims, 40 images, 2 targets."""

import pytest
import torch
from reliability_config import CONTROLS, make_config
from torch import Tensor

from cam_adv.studies.explanation_reliability.claims import CLAIMS, Claims, primary_findings, ranking
from cam_adv.studies.explanation_reliability.concealment import N_PERMUTATIONS, PAIR_COLUMNS
from cam_adv.studies.explanation_reliability.finding import NO_FINDING, Estimate, Finding

VICTIM = torch.arange(3).repeat_interleave(80)
IMAGE = torch.arange(40).repeat_interleave(2).repeat(3)
NOISE = 0.05 * torch.randn(240, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def claims() -> Claims:
    return Claims(make_config(), seed=0)


def make_rows(**columns: Tensor) -> dict[str, Tensor]:
    return {"victim": VICTIM, "image": IMAGE} | columns


def make_pairs(**columns: Tensor) -> dict[str, Tensor]:
    null = 0.05 * torch.randn(240, N_PERMUTATIONS, generator=torch.Generator().manual_seed(4))
    return make_rows(**dict.fromkeys(PAIR_COLUMNS, torch.ones(240)) | {"null": null} | columns)


def make_dissimilarities(attack: float, **controls: float) -> dict[str, Tensor]:
    values = dict.fromkeys(CONTROLS, 0.2) | controls
    columns = {f"map_dissimilarity {name}": torch.full((240,), value) for name, value in values.items()}
    return make_rows(**columns, **{"map_dissimilarity attack": attack + NOISE})


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
    assert found["equal"].estimate.equivalence_p < 0.05
    details = found["the unmatched transition changes more"].details
    assert details["attack - transition"].high < 0
    assert details["attack"].effect == pytest.approx(0.6, abs=0.02)


def test_unfaithfulness_requires_a_loss_of_an_existing_advantage(claims: Claims) -> None:
    full, zero = 0.5 + NOISE, NOISE

    def make_advantages(attack: Tensor, x: Tensor = full) -> dict[str, Tensor]:
        columns = {"x": x, "attack": attack, "mean_map": full / 2}
        return make_rows(**{f"advantage {key}": values for key, values in columns.items()})

    found = claims.unfaithfulness(
        {
            "lost": make_advantages(zero.flip(0)),
            "kept": make_advantages(full.clone()),
            "nothing to lose": make_advantages(zero.clone(), x=zero),
        }
    )
    assert [finding.verdict for finding in found.values()] == ["yes", "no", "undecided"]
    assert found["lost"].details["attack"].effect == pytest.approx(0, abs=0.02)
    assert found["lost"].details["mean_map"].effect == pytest.approx(0.25, abs=0.02)


def test_concealment_requires_that_the_map_adds_no_auc(claims: Claims) -> None:
    chance, sure = 0.5 + NOISE, torch.ones(240)
    found = claims.concealment(
        {
            "revealed": make_pairs(map=sure, confidence=chance, both=sure),
            "concealed": make_pairs(map=chance, confidence=chance, both=chance),
            "not matched": make_pairs(map=sure, confidence=sure, both=sure),
            "too few to learn from": make_pairs(
                **dict.fromkeys(("map", "confidence", "both", "other_class"), chance)
            ),
        }
    )
    assert [finding.verdict for finding in found.values()] == ["no", "yes", "undecided", "undecided"]
    assert found["revealed"].estimate.effect == pytest.approx(0.5, abs=0.02)


def make_finding(effect: float) -> Finding:
    return Finding(Estimate(effect, effect, effect, 1, 1.0, 50, 50), "undecided", {})


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
