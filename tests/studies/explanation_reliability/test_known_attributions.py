"""Explanations with a known answer: their maps, and what the study must say of them."""

import math
from dataclasses import replace

import pytest
import torch

from cam_adv.studies.explanation_reliability.claims import Findings
from cam_adv.studies.explanation_reliability.finding import NO_ESTIMATE, Finding, Verdict
from cam_adv.studies.explanation_reliability.instability import map_dissimilarity
from cam_adv.studies.explanation_reliability.known_attributions import (
    EXPECTED,
    LADDER,
    constant,
    noisy,
    reversed_sign,
    scrambled,
)
from cam_adv.studies.explanation_reliability.maps import AttributionMaps
from cam_adv.studies.explanation_reliability.meta_evaluation import check_known_answers, overall

DRAWN = torch.randn(4, 60, 7, 7, generator=torch.Generator().manual_seed(0))
PARTS = DRAWN[3][:5], DRAWN[3][5:9], DRAWN[3][9:11]
MAPS = AttributionMaps(DRAWN[0], {"attack": DRAWN[1], "real_pair": DRAWN[2]}, *PARTS)


def test_scrambled_permutes_the_attacked_map_equally_for_an_image() -> None:
    attacked = MAPS.comparisons["attack"].clone()
    attacked[1] = attacked[0]
    found = scrambled(replace(MAPS, comparisons={"attack": attacked}), torch.tensor([3, 3, *range(4, 62)]))
    shown = found.comparisons["attack"]
    assert torch.equal(shown.flatten(1).sort().values, attacked.flatten(1).sort().values)
    assert torch.equal(shown[0], shown[1])
    assert (shown != attacked).flatten(1).any(dim=1).all()
    assert torch.equal(found.x, MAPS.x)


def test_reversed_sign_and_constant_by_hand() -> None:
    assert torch.equal(reversed_sign(MAPS).comparisons["attack"], -MAPS.comparisons["attack"])
    assert torch.equal(reversed_sign(MAPS).comparisons["real_pair"], MAPS.comparisons["real_pair"])
    found = constant(MAPS)
    every = torch.cat([found.x, *found.comparisons.values(), found.clean, found.other_class, found.reconstructed])
    assert len(every) == 3 * 60 + 5 + 4 + 2
    assert len(every.unique(dim=0)) == 1
    assert every[0, 3, 3] == every.max() == 1
    assert every[0, 3, 4].item() == pytest.approx(math.exp(-0.5 * (4 / 7) ** 2))


def test_noisy_map_goes_from_the_map_of_x_to_noise_of_its_spread() -> None:
    shown = [noisy(MAPS, share, seed=1).comparisons["attack"] for share in LADDER.values()]
    assert torch.equal(shown[0], MAPS.x)
    changes = [map_dissimilarity(MAPS.x, one).mean().item() for one in shown]
    assert changes == sorted(changes)
    assert changes[2] == pytest.approx(1 - 0.5**0.5, abs=0.05)
    assert changes[4] == pytest.approx(1, abs=0.05)
    assert shown[4].std().item() == pytest.approx(MAPS.x.std().item(), rel=0.05)


def make_finding(verdict: Verdict, effect: float = 0.0, clusters: int = 40) -> Finding:
    return Finding(replace(NO_ESTIMATE, effect=effect, clusters=clusters), verdict, {})


def make_findings(**changes: Verdict) -> Findings:
    """What must come out, but for the verdicts of `changes` on concealment by name."""
    return {
        name: {
            claim: make_finding(
                changes.get(name.removeprefix("known: "), verdict) if claim == "concealment" else verdict
            )
            for claim, verdict in verdicts.items()
        }
        for name, verdicts in EXPECTED.items()
    }


@pytest.mark.parametrize(
    ("changes", "effects", "clusters", "expected"),
    [
        ({}, (-0.2, -0.1, 0.1, 0.4, 0.6), 40, "right"),
        ({"copied": "undecided"}, (-0.2, -0.1, 0.1, 0.4, 0.6), 40, "too few images"),
        ({"copied": "no"}, (-0.2, -0.1, 0.1, 0.4, 0.6), 40, "wrong"),
        ({"copied": "no", "constant": "undecided"}, (-0.2, -0.1, 0.1, 0.4, 0.6), 40, "wrong"),
        ({}, (-0.2, -0.1, 0.1, 0.6, 0.4), 40, "wrong"),
        ({}, (-0.2, -0.1, 0.1, 0.6, 0.4), 9, "too few images"),
        ({}, (), 0, "too few images"),
    ],
)
def test_overall_is_the_worst_of_all_answers(
    changes: dict[str, Verdict], effects: tuple[float, ...], clusters: int, expected: str
) -> None:
    findings = make_findings(**changes)
    ladder = [make_finding("undecided", effect, clusters) for effect in effects]
    answers = check_known_answers({"attack": findings, "high_confidence_attack": findings}, ladder)
    assert overall(answers) == expected
    assert len(answers) == sum(map(len, EXPECTED.values())) + 1


def test_known_answers_that_were_not_measured_are_too_few_images() -> None:
    """A victim that comes trained has no random weights, and these are left out."""
    answers = check_known_answers({"attack": {}, "high_confidence_attack": {}}, [])
    assert {answer.status for answer in answers} == {"too few images"}
    assert "random weights" not in {answer.name for answer in answers}
