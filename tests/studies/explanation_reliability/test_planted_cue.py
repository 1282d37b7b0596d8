"""The victim with a planted cue: its logits, its map, and the verdicts that the study must reach."""

import pytest
import torch
from reliability_config import MATCHED, make_config

from cam_adv.attributions.class_maps import cam
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.studies.explanation_reliability.claims import Claims
from cam_adv.studies.explanation_reliability.instability import map_dissimilarity
from cam_adv.studies.explanation_reliability.known_attributions import EXPECTED, LEFT_BEHIND, PLANTED
from cam_adv.studies.explanation_reliability.measurements import measure_planted_cue
from cam_adv.studies.explanation_reliability.planted_cue import LOGIT, planted_pairs

DRAWN = torch.Generator().manual_seed(0)
LABELS = torch.randint(4, (400,), generator=DRAWN)
TEST = LabelledImages((torch.rand(400, 1, 20, 20, generator=DRAWN) > 0.8).to(torch.uint8) * 255, LABELS)
SELECTION = Selection(torch.arange(80), LABELS[:80], (LABELS[:80] + 1) % 4)
PAIRS = planted_pairs(TEST, SELECTION, MATCHED, 4, seed=3)


def test_planted_victim_predicts_the_pattern_wherever_it_is() -> None:
    network = PAIRS.layer_target.network
    for images, label in [(PAIRS.x, PAIRS.y), *((one, PAIRS.y) for one in PAIRS.comparisons.values())]:
        logits = network(images)
        assert torch.equal(logits.argmax(dim=1), label)
        assert logits.gather(1, label[:, None]).max() < 1.2 * LOGIT
    assert torch.equal(network(PAIRS.other_class).argmax(dim=1), PAIRS.target)
    assert torch.equal(network(PAIRS.clean.images).argmax(dim=1), PAIRS.clean.labels)
    blank = torch.full((1, 1, 20, 20), 0.75)
    assert network(blank).abs().max() == 0


def test_planted_map_is_at_the_pattern_and_moves_with_it() -> None:
    maps, moved = (
        cam(PAIRS.layer_target, images, PAIRS.y, PAIRS.target) for images in (PAIRS.x, PAIRS.comparisons["attack"])
    )
    assert maps.shape[1:] == (20, 20)
    assert (maps[:, :, 10:].sum(dim=(1, 2)) < 0.2 * maps.sum(dim=(1, 2))).all()
    assert (moved[:, :, :10].sum(dim=(1, 2)) < 0.2 * moved.sum(dim=(1, 2))).all()
    assert map_dissimilarity(maps, moved).mean() > 0.9
    for name in MATCHED:
        kept = cam(PAIRS.layer_target, PAIRS.comparisons[name], PAIRS.y, PAIRS.target)
        assert map_dissimilarity(maps, kept).mean() < 0.1


@pytest.fixture(scope="module")
def verdicts() -> dict[str, dict[str, str]]:
    config = make_config(deletion_insertion_steps=4)
    measured = measure_planted_cue(PAIRS, config, 0, torch.device("cpu"))
    return {
        name: {claim: finding.verdict for claim, finding in Claims(config).decide({name: one})[name].items()}
        for name, one in measured.items()
    }


@pytest.mark.parametrize("name", [PLANTED, LEFT_BEHIND])
def test_planted_cue_gets_the_verdicts_that_it_must(name: str, verdicts: dict[str, dict[str, str]]) -> None:
    assert verdicts[name] == EXPECTED[name]
