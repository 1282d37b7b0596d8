"""The rule for the effect of a training, its control, and the confidence of equal rank: by hand and simulated."""

import json
import math

import pytest
import torch
from matplotlib.axes import Axes
from scipy.stats import ttest_1samp
from torch import Tensor

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.intervals import clustered_rate
from cam_adv.metrics.success import AttackVerdict
from cam_adv.studies.adversarial_training.effect import Change, check_control, measure_effects
from cam_adv.studies.adversarial_training.equal_rank import LARGEST, equal_rank_confidence
from cam_adv.studies.adversarial_training.report import (
    adversarial_training_content,
    adversarial_training_figure,
    print_adversarial_training,
    verdict_texts,
)
from cam_adv.studies.adversarial_training.table import (
    CONTROL,
    PLAIN,
    AdversarialTrainingTable,
    Measure,
    Observed,
)

IMAGES = 200
TYPE1, PGD = Measure("type1"), Measure("pgd")
ROOT = math.sqrt(0.5)


def own_clusters(values: Tensor) -> Change:
    """A change whose images are independent of each other."""
    return Change(values, torch.arange(values.shape[1]))


def successes(count: int, victims: int = 5) -> Tensor:
    """An attack that succeeds on the first `count` images of every victim."""
    return (torch.arange(IMAGES) < count).expand(victims, IMAGES)


def change(count: int) -> Change:
    """From success on all images to success on `count`."""
    return own_clusters(successes(count).double() - 1)


def test_change_of_one_victim_is_the_t_test_with_two_more_images() -> None:
    """A peer's test on the outcomes and ±√½; the estimate is that of the outcomes alone."""
    values = torch.tensor([[-1.0, 0, 0, 1, -1, -1, 0, 0, 0, -1]])
    found, oracle = own_clusters(values), ttest_1samp([*values[0].tolist(), ROOT, -ROOT], -0.1)
    assert 2 * min(found.p_values(-0.1)) == pytest.approx(oracle.pvalue)
    interval, expected = found.interval(0.9), oracle.confidence_interval(0.9)
    assert interval.estimate == pytest.approx(-0.3)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_equal_outcomes_have_an_interval() -> None:
    unchanged, lost = (own_clusters(torch.full((5, 100), value)).interval(0.95) for value in (0.0, -1.0))
    assert 0 < unchanged.high == -unchanged.low < 0.03
    assert lost.low == lost.estimate == -1 < lost.high < -0.9


def test_images_of_one_cluster_count_as_one() -> None:
    """Every image copied: with the copies in one cluster the error is as before, without it is smaller by √2."""
    values = torch.tensor([[-1.0, 0, 0, 1] * 10]) * torch.ones(5, 1)
    one, twice = own_clusters(values), values.repeat(1, 2)
    width = [
        found.interval(0.95).high - found.interval(0.95).low
        for found in (one, Change(twice, torch.arange(40).repeat(2)), own_clusters(twice))
    ]
    assert width[1] == pytest.approx(width[0], rel=0.03)
    assert width[2] == pytest.approx(width[0] / math.sqrt(2), rel=0.03)


def test_few_clusters_decide_nothing() -> None:
    """All 200 images lose their success, but they are nine starts; with ten the training helps."""
    values, answers = torch.full((5, IMAGES), -1.0), []
    for clusters in (9, 10):
        (effect,) = measure_effects({0: Change(values, torch.arange(IMAGES) % clusters)}, 0.1, 0.95).values()
        answers.append(effect.improves_robustness)
    assert answers == ["undecided", "yes"]


def simulated(seed: int, shift: float, victim_spread: float = 0.0, victims: int = 5, images: int = 80) -> Tensor:
    """-1, 0 or 1 for each victim and image; `shift` in the mean over all victims and images there could be.

    An attack succeeds on half of the images of a plain victim, on some of them more often. Victims differ.
    """
    generator = torch.Generator().manual_seed(seed)
    often = 0.25 + torch.rand(images, generator=generator) / 2
    spread = victim_spread * (2 * torch.rand(2, victims, 1, generator=generator) - 1)
    drawn = torch.rand(2, victims, images, generator=generator)
    before, after = drawn < often + spread + torch.tensor([0, shift]).reshape(2, 1, 1)
    return after.double() - before.double()


def rejected(changes: list[Change]) -> float:
    """The share of tests at 5% that reject a fall by 0.1."""
    return sum(2 * min(change.p_values(-0.1)) <= 0.05 for change in changes) / len(changes)


def most(count: int) -> float:
    """Of so many tests at 5%, two standard errors more."""
    return 0.05 + 2 * math.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize("victim_spread", [0.0, 0.1])
def test_margin_is_rejected_no_more_often_than_its_level(victim_spread: float) -> None:
    changes = [own_clusters(simulated(seed, -0.1, victim_spread)) for seed in range(200)]
    assert 0 < rejected(changes) <= most(200)


def test_margin_is_rejected_no_more_often_than_its_level_where_images_share_starts() -> None:
    """Four images with equal outcomes from each of 25 starts, which mislead a test that counts 100 images."""
    values = [simulated(seed, -0.1, victims=1, images=25).repeat(1, 4) for seed in range(100)]
    assert rejected([Change(one, torch.arange(25).repeat(4)) for one in values]) <= most(100)
    assert rejected([own_clusters(one) for one in values]) > 2 * most(100)


def test_effect_of_a_quarter_is_found() -> None:
    """Power: a fall by 0.35, which is 0.25 beyond the margin, is found in nearly every table of 5 victims."""
    found = [own_clusters(simulated(seed, 0.0, 0.05) - 0.35) for seed in range(60)]
    assert sum(one.interval(0.95).high < -0.1 for one in found) >= 57


@pytest.mark.parametrize(
    ("count", "answer"), [(200, "no"), (190, "no"), (180, "undecided"), (170, "undecided"), (120, "yes"), (0, "yes")]
)
def test_effect_is_decided_by_the_margin(count: int, answer: str) -> None:
    """A fall of 10 points counts; 180 of 200 is just that."""
    (effect,) = measure_effects({"one": change(count)}, 0.1, 0.95).values()
    assert effect.improves_robustness == answer
    assert effect.change == change(count).interval(0.95)
    assert effect.change.estimate == pytest.approx(count / IMAGES - 1)


def test_attack_that_becomes_easier_is_no_help() -> None:
    easier = own_clusters(-change(120).values)
    (effect,) = measure_effects({"one": easier}, 0.1, 0.95).values()
    assert effect.improves_robustness == "no"


def test_comparisons_are_corrected_together() -> None:
    """A fall by 16 points is found alone, and not as one of twenty comparisons."""
    alone = measure_effects({0: change(166)}, 0.1, 0.95)[0]
    together = measure_effects({0: change(166)} | {key: change(180) for key in range(1, 20)}, 0.1, 0.95)[0]
    assert (alone.improves_robustness, together.improves_robustness) == ("yes", "undecided")
    assert together.p == pytest.approx(20 * alone.p)
    assert together.change == alone.change


@pytest.mark.parametrize(
    ("count", "answer"), [(200, "yes"), (190, "yes"), (180, "undecided"), (170, "undecided"), (100, "no")]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_control_must_be_shown_to_do_nothing(count: int, answer: str, sign: int) -> None:
    """In either direction."""
    check = check_control(own_clusters(sign * change(count).values), 0.1, 0.95)
    assert check.does_nothing == answer
    assert check.change.estimate == pytest.approx(sign * (count / IMAGES - 1))


def test_control_with_a_wide_interval_is_undecided() -> None:
    """Victims whose success rates differ much: a fall by 19 points, whose interval has -36 and -2 in it."""
    values = torch.zeros(5, IMAGES)
    for victim, lost in enumerate((0.35, 0.3, 0.2, 0.1, 0.0)):
        values[victim, : int(lost * IMAGES)] = -1
    check = check_control(own_clusters(values), 0.1, 0.95)
    assert check.does_nothing == "undecided"
    assert check.change.estimate == pytest.approx(-0.19)
    assert -0.4 < check.change.low < -0.3 < -0.05 < check.change.high < 0


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
    """Of Type I an image and the next one share their start."""

    def verdicts(count: int) -> list[AttackVerdict]:
        return [AttackVerdict(one, one, one, ~one, ~one, one) for one in successes(count)]

    image = torch.arange(IMAGES)
    probability = torch.tensor([[0.95, 0.5, 0.9, 0.2]], dtype=torch.float64).expand(5, 4)
    return Observed(
        (torch.arange(4) < correct).expand(5, 4),
        probability,
        {TYPE1: [0.9, 0.9, 0.5, 0.5, 0.1]},
        {TYPE1: verdicts(type1), PGD: verdicts(pgd)},
        {TYPE1: (image // 2).expand(5, -1).unsqueeze(2), PGD: image.expand(5, -1).unsqueeze(2)},
    )


def table_with(plain: int, control: int) -> AdversarialTrainingTable:
    """Type I succeeds on so many images of victims of both; a training prevents all successes."""
    observations = {PLAIN: observed(plain, 200), CONTROL: observed(control, 200), "type2": observed(0, 0)}
    return AdversarialTrainingTable.build(observations, 0.1, 0.95)


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
    starts = [number // 2 for number in image]
    assert row.rates[TYPE1]["success"] == clustered_rate([number < 100 for number in image], starts)
    assert row.rates[PGD]["success"] == clustered_rate([False] * len(image), image)
    paired = Change(successes(100).double() - 1, torch.arange(IMAGES) // 2)
    assert row.effects[TYPE1].change == paired.interval(0.95)
    assert {measure: effect.improves_robustness for measure, effect in row.effects.items()} == {
        TYPE1: "yes",
        PGD: "yes",
    }
    assert {check.does_nothing for check in table.controls.values()} == {"yes"}
    assert verdict_texts(table) == [
        "control: does nothing to type1, pgd, as it must.",
        "type2: helps against type1, pgd.",
    ]


def test_images_are_one_cluster_where_a_victim_of_either_training_shares_their_start() -> None:
    """In pairs before, and in pairs that lie across these after: one chain of all images."""
    before, after = observed(200, 200), observed(100, 200)
    after.starts[TYPE1] = (IMAGES + (torch.arange(IMAGES) + 1) // 2).expand(5, -1).unsqueeze(2)
    table = AdversarialTrainingTable.build({PLAIN: before, CONTROL: before, "type2": after}, 0.1, 0.95)
    effect = table.rows["type2"].effects[TYPE1]
    assert (effect.improves_robustness, effect.p) == ("undecided", 1)
    assert table.rows["type2"].effects[PGD].improves_robustness == "no"


@pytest.mark.parametrize(
    ("plain", "control", "answer"),
    [(200, 100, "no"), (100, 200, "no"), (200, 175, "undecided"), (175, 200, "undecided")],
)
def test_control_that_does_not_pass_withholds_the_verdicts_everywhere(
    plain: int, control: int, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the sentences, the file, the terminal and the figure; those on another attack stay."""
    table, reason = table_with(plain, control), {"no": "control failed", "undecided": "control undecided"}[answer]
    assert {measure: check.does_nothing for measure, check in table.controls.items()} == {TYPE1: answer, PGD: "yes"}
    withheld, *texts = verdict_texts(table)
    assert withheld.startswith(f"No verdict on type1, {reason}: ")
    assert texts == ["control: does nothing to pgd, as it must.", "type2: helps against pgd."]
    content = json.loads(json.dumps(adversarial_training_content(table)))
    attacks = content["trainings"]["type2"]["attacks"]
    assert (attacks["type1"]["improves_robustness"], attacks["type1"]["reason"]) == ("withheld", reason)
    assert (attacks["pgd"]["improves_robustness"], "reason" in attacks["pgd"]) == ("yes", False)
    of_control = content["trainings"]["control"]["attacks"]
    assert (of_control["type1"]["does_nothing"], of_control["pgd"]["does_nothing"]) == (answer, "yes")
    print_adversarial_training(table, "heading")
    printed = " ".join(capsys.readouterr().out.split())
    assert withheld in printed
    assert "helps against type1" not in printed
    of_type1, of_pgd = adversarial_training_figure(table, "heading").axes
    assert of_type1.get_title(loc="left").endswith(reason)
    assert markers(of_type1) == ["x", "x"]
    assert markers(of_pgd) == ["s", "o"]


def markers(axes: Axes) -> list[str]:
    """Of the points in a panel of the figure, without the legend's."""
    return [line.get_marker() for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata()) == 1]


def test_nothing_is_said_of_trainings_where_no_control_passes() -> None:
    observations = {PLAIN: observed(200, 200), CONTROL: observed(100, 100), "type2": observed(0, 0)}
    (withheld,) = verdict_texts(AdversarialTrainingTable.build(observations, 0.1, 0.95))
    assert withheld.startswith("No verdict on type1, pgd, control failed")
