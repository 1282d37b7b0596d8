"""The rule for the effect of a training, and the confidence of equal rank, by hand."""

import pytest
import torch
from torch import Tensor

from cam_adv.metrics.crossed_effects import crossed_mean
from cam_adv.metrics.intervals import clustered_rate
from cam_adv.metrics.success import AttackVerdict
from cam_adv.studies.adversarial_training.effect import measure_effects
from cam_adv.studies.adversarial_training.equal_rank import LARGEST, equal_rank_confidence
from cam_adv.studies.adversarial_training.report import verdict_texts
from cam_adv.studies.adversarial_training.table import (
    CONTROL,
    PLAIN,
    AdversarialTrainingTable,
    Measure,
    Observed,
)

IMAGES = 200
TYPE1, PGD = Measure("type1"), Measure("pgd")


def successes(count: int, victims: int = 5) -> Tensor:
    """An attack that succeeds on the first `count` images of every victim."""
    return (torch.arange(IMAGES) < count).expand(victims, IMAGES)


def change(count: int) -> Tensor:
    """From success on all images to success on `count`."""
    return successes(count).double() - 1


@pytest.mark.parametrize(
    ("count", "answer"), [(200, "no"), (190, "no"), (180, "undecided"), (170, "undecided"), (120, "yes"), (0, "yes")]
)
def test_effect_is_decided_by_the_margin(count: int, answer: str) -> None:
    """A fall of 10 points counts; 180 of 200 is just that."""
    (effect,) = measure_effects({"one": change(count)}, 0.1, 0.95).values()
    assert effect.improves_robustness == answer
    assert effect.change == crossed_mean(change(count)).interval(0.95)
    assert effect.change.estimate == pytest.approx(count / IMAGES - 1)


def test_attack_that_becomes_easier_is_no_help() -> None:
    (effect,) = measure_effects({"one": -change(120)}, 0.1, 0.95).values()
    assert effect.improves_robustness == "no"


def test_comparisons_are_corrected_together() -> None:
    """A fall by 16 points is found alone, and not as one of twenty comparisons."""
    alone = measure_effects({0: change(166)}, 0.1, 0.95)[0]
    together = measure_effects({0: change(166)} | {key: change(180) for key in range(1, 20)}, 0.1, 0.95)[0]
    assert (alone.improves_robustness, together.improves_robustness) == ("yes", "undecided")
    assert together.p == pytest.approx(20 * alone.p)
    assert together.change == alone.change


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.9, 0.4), (0.5, 0.3), (0.99, 0.6), (0.0, 0.1)],  # reached by 2, 3, none (counted as one) and all images
)
def test_equal_rank_confidence_is_reached_by_as_many_images(confidence: float, expected: float) -> None:
    reference = torch.tensor([0.95, 0.2, 0.9, 0.6], dtype=torch.float64)
    probability = torch.tensor([0.4, 0.1, 0.3, 0.6], dtype=torch.float64)
    found = equal_rank_confidence(confidence, reference, probability)
    assert found == expected
    assert (probability >= found).sum() == max(1, (reference >= confidence).sum())


def test_equal_rank_of_a_victim_with_itself_changes_no_verdict() -> None:
    probability = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = equal_rank_confidence(0.9, probability, probability)
    assert torch.equal(probability >= found, probability >= 0.9)


def test_equal_rank_confidence_is_less_than_one() -> None:
    sure = torch.ones(5, dtype=torch.float64)
    assert equal_rank_confidence(0.9, sure, sure) == LARGEST < 1


def observed(type1: int, pgd: int, correct: int = 3) -> Observed:
    def verdicts(count: int) -> list[AttackVerdict]:
        return [AttackVerdict(one, one, one, ~one, ~one, one) for one in successes(count)]

    probability = torch.tensor([[0.95, 0.5, 0.9, 0.2]], dtype=torch.float64).expand(5, 4)
    return Observed(
        (torch.arange(4) < correct).expand(5, 4),
        probability,
        {TYPE1: [0.9, 0.9, 0.5, 0.5, 0.1]},
        {TYPE1: verdicts(type1), PGD: verdicts(pgd)},
    )


def test_table_by_hand() -> None:
    table = AdversarialTrainingTable.build(
        {PLAIN: observed(200, 200), CONTROL: observed(199, 200), "type2": observed(100, 0, 4)}, 0.1, 0.95
    )
    assert (table.images, table.measures) == (IMAGES, [TYPE1, PGD])
    row = table.rows["type2"]
    assert (row.accuracy.rate, table.rows[PLAIN].accuracy.rate) == (1, 0.75)
    # 2 of 4 images reach 0.9, 3 reach 0.5, all reach 0.1.
    assert row.clean_share[TYPE1].rate == pytest.approx((2 + 2 + 3 + 3 + 4) / 20)
    image = [number for _ in range(5) for number in range(IMAGES)]
    assert row.rates[TYPE1]["success"] == clustered_rate([number < 100 for number in image], image)
    assert {measure: effect.improves_robustness for measure, effect in row.effects.items()} == {
        TYPE1: "yes",
        PGD: "yes",
    }
    assert table.failed_controls == []
    assert verdict_texts(table) == ["control: does not help against type1, pgd.", "type2: helps against type1, pgd."]


@pytest.mark.parametrize(("plain", "control"), [(200, 100), (100, 200)])
def test_control_that_changes_an_attack_withholds_its_verdicts(plain: int, control: int) -> None:
    observations = {PLAIN: observed(plain, 200), CONTROL: observed(control, 200), "type2": observed(0, 0)}
    table = AdversarialTrainingTable.build(observations, 0.1, 0.95)
    assert table.failed_controls == [TYPE1]
    withheld, *texts = verdict_texts(table)
    assert withheld.startswith("No verdict on type1: the control")
    assert texts == ["control: does not help against pgd.", "type2: helps against pgd."]
