"""Shifts of operating points by Type II attacks: log-odds, rates, intervals and verdicts by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cam_adv.data.human_labels import NOTHING
from cam_adv.metrics.intervals import newcombe, wilson
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig, DetectorConfig, PerturbedPixelsConfig
from cam_adv.studies.attack_comparison.operating_point import AttackedImages, ClassCurves, class_curves
from cam_adv.studies.attack_comparison.report import verdict_texts
from cam_adv.studies.attack_comparison.scores import Scores, log_odds

CONFIG = AttackComparisonConfig(
    images=30,
    target_fpr=0.1,
    prevalences=[0.5],
    n_resamples=200,
    level=0.95,
    detectors=DetectorConfig(bits=1, window=2, min_auc=0.75),
    perturbed_pixels=PerturbedPixelsConfig(region=0.3, marked=0.05),
)


@pytest.fixture(scope="module")
def curves() -> list[ClassCurves]:
    """Two classes, of which scores are each other's negative. Validation: negatives of class 0 score −9, …, 0."""
    validation = torch.cat([torch.arange(-9.0, 1), torch.full((10,), 50.0)])
    test = torch.tensor([5.0, 4, 3, -2, -6, -1, 1, -8])
    attacked = {"pgd": [-3.0, 2, 4, -9, 9, 9]}

    def both(scores: Tensor) -> Tensor:
        return torch.stack([scores, -scores], dim=1).double()

    scores = Scores(both(validation), both(test), {name: both(torch.tensor(of)) for name, of in attacked.items()})
    index, y = torch.tensor([0, 1, 2, 2, 4, 5]), torch.tensor([0, 0, 0, 0, 1, 1])
    attacks = {
        "pgd": AttackedImages(index, y, judge_reads=torch.tensor([0, 0, 0, 1, 0, 0])),
    }
    labels = torch.tensor([1] * 10 + [0] * 10), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    return class_curves(scores, *labels, attacks, CONFIG, seed=0)


def test_log_odds_distinguish_probabilities_that_round_to_one() -> None:
    logits = torch.tensor([[60.0, 0.0], [90.0, 0.0], [1.0, -1.0]])
    torch.testing.assert_close(log_odds(logits)[:, 0], torch.tensor([60.0, 90.0, 2.0], dtype=torch.float64))
    several = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = several.softmax(dim=1)
    torch.testing.assert_close(log_odds(several), (probs / (1 - probs)).log())


def test_class_curves_by_hand(curves: list[ClassCurves]) -> None:
    """One of ten negatives scores above −1: that is the threshold of class 0, which a score of −1 does not exceed."""
    of_class = curves[0]
    assert (of_class.clean.positives, of_class.clean.negatives, of_class.clean.threshold) == (4, 4, -1)
    assert (of_class.clean.tpr, of_class.clean.fpr) == (wilson(3, 4), wilson(1, 4))
    assert of_class.clean.auc.estimate == 14 / 16  # −2 is below −1 and 1
    shift = of_class.shifts["pgd"]
    assert (shift.images, shift.left_out, shift.before, shift.after) == (3, 1, wilson(3, 4), wilson(2, 3))
    assert shift.change == newcombe(wilson(2, 3), wilson(3, 4))
    assert shift.source_tpr == wilson(3, 3)
    assert shift.auc.estimate == pytest.approx(10 / 12)  # −3 is below −1 and 1
    level = 1 - 0.05 / 2  # two classes, one attack
    assert shift.simultaneous == newcombe(wilson(2, 3, level), wilson(3, 4, level))


def test_class_curves_without_images_have_no_shift(curves: list[ClassCurves]) -> None:
    """The judge assigns what was made of class 1 to class 0."""
    shift = curves[1].shifts["pgd"]
    assert (shift.images, shift.left_out, shift.after, shift.change, shift.auc) == (0, 2, None, None, None)
    each, simultaneous = verdict_texts(curves, ["a", "b"], CONFIG.level)
    assert each == "At 95% for each interval, the interval does not exclude zero for a, b (no image left) under pgd."
    assert "all 2 of them together (Bonferroni)" in simultaneous


def test_images_that_the_judge_cannot_read_are_left_out() -> None:
    """Of four images of class 0, it reads one as class 0, one as class 1, and nothing in two."""
    scores = torch.tensor([1.0, 2, 3, 4])
    both = torch.stack([scores, -scores], dim=1).double()
    y, index = torch.zeros(4, dtype=torch.long), torch.arange(4)
    reads = torch.tensor([0, NOTHING, 1, NOTHING])
    labels = torch.tensor([0, 0, 1, 1])
    attacks = {"pgd": AttackedImages(index, y, reads)}
    found = class_curves(Scores(both, both, {"pgd": both}), labels, labels, attacks, CONFIG, seed=0)[0]
    assert found.clean.threshold == 4  # which the image read as class 0, of score 1, does not exceed
    shift = found.shifts["pgd"]
    assert (shift.images, shift.left_out, shift.after) == (1, 3, wilson(0, 1))


def test_verdict_texts_of_clear_shifts_name_no_class(curves: list[ClassCurves]) -> None:
    clear = replace(curves[0].shifts["pgd"], change=newcombe(wilson(9, 9), wilson(0, 9)))
    of_class = ClassCurves(curves[0].clean, {"pgd": clear})
    expected = "there is no class whose interval does not exclude zero"
    assert expected in verdict_texts([of_class], ["a"], CONFIG.level)[0]
