"""Adversarial training: what is added to the training images, and the rule for its effect, by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.metrics.intervals import newcombe_paired
from cam_adv.studies.adversarial_training.augment import adversarial_to_dataset, augment_split
from cam_adv.studies.adversarial_training.effect import improves_only_against, measure_effect


def attack_result(images: int) -> AttackResult:
    """Labels 0, 1, 2, …, targets one more; every image is uniform, 0.4 gray levels above its number."""
    y = torch.arange(images)
    x_adv = ((y + 0.4) / 255).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return AttackResult(0 * x_adv, x_adv, y, y + 1, start=y, steps=y, diverged=y < 0, terms={})


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[Tensor, Tensor]:
    """Successes on two victims, with these numbers of images of each outcome."""
    baseline = [True] * (both + first) + [False] * (second + neither)
    retrained = [True] * both + [False] * first + [True] * second + [False] * neither
    return torch.tensor(baseline), torch.tensor(retrained)


def test_adversarial_to_dataset_labels_images_as_target() -> None:
    adversarial = adversarial_to_dataset(attack_result(3))
    assert adversarial.labels.tolist() == [1, 2, 3]
    assert adversarial.images[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, [10, 11, 12, 13, 10, 11]), (0.25, [10, 11]), (0.4, [10, 11, 12, 13])]
)
def test_augment_split_repeats_images_up_to_their_share(share: float, expected: list[int]) -> None:
    """Six clean images with pixel 0 and label 9; four adversarial images whose pixels are their labels."""
    clean = LabelledImages(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.full((6,), 9))
    labels = 10 + torch.arange(4)
    adversarial = LabelledImages(labels.byte().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2), labels)
    augmented = augment_split(ImageSplits(clean, clean, clean, tuple("abc")), adversarial, share)
    assert augmented.validation is clean
    assert augmented.test is clean
    assert torch.equal(augmented.train.images[:6], clean.images)
    assert augmented.train.labels.tolist() == [9] * 6 + expected
    assert augmented.train.images[6:, 0, 0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("counts", "estimate", "answer"),
    [
        ((40, 60, 0, 0), -0.6, "yes"),
        ((98, 1, 1, 0), 0.0, "no"),
        ((85, 12, 1, 2), -0.11, "undecided"),
        ((60, 0, 40, 0), 0.4, "no"),  # the attack becomes easier
        ((5, 0, 0, 0), 0.0, "undecided"),  # too few images
    ],
)
def test_measure_effect_by_hand(counts: tuple[int, ...], estimate: float, answer: str) -> None:
    """The change and its interval, from the two Wilson intervals; a fall by 0.1 counts."""
    effect = measure_effect(*outcomes(*counts), min_effect=0.1)
    assert effect.change == newcombe_paired(*counts)
    assert effect.change.estimate == pytest.approx(estimate)
    assert effect.improves_robustness == answer


def test_measure_effect_depends_on_min_effect() -> None:
    """A fall by 0.6 with an interval from 0.50 to 0.69."""
    baseline, retrained = outcomes(40, 60, 0, 0)
    answers = [
        measure_effect(baseline, retrained, min_effect).improves_robustness for min_effect in (0.45, 0.6, 0.75)
    ]
    assert answers == ["yes", "undecided", "no"]


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ("yes", "no", "yes"),
        ("yes", "yes", "no"),
        ("no", "no", "no"),
        ("undecided", "no", "undecided"),
        ("undecided", "yes", "no"),
        ("yes", "undecided", "undecided"),
    ],
)
def test_improves_only_against_needs_own_kind_and_no_other(own: str, other: str, expected: str) -> None:
    effect = measure_effect(*outcomes(50, 50, 0, 0), min_effect=0.1)
    effects = {
        "a": replace(effect, improves_robustness=own),
        "b": replace(effect, improves_robustness=other),
    }
    assert improves_only_against("type1", effects, {"a": "type1", "b": "type2"}) == expected
    assert improves_only_against("type2", effects, {"a": "type2", "b": "type1"}) == expected
