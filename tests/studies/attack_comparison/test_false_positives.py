"""False positives of Type I pictures by their prevalence: by hand, and what they are where nothing is attacked."""

import pytest
import torch

from cam_adv.data.human_labels import NOTHING
from cam_adv.metrics.intervals import clustered_rate, mixed_rate, newcombe, wilson
from cam_adv.studies.attack_comparison.false_positives import (
    FalsePositiveTable,
    Negatives,
    Pictures,
    false_positive_table,
)
from cam_adv.studies.attack_comparison.false_positives_report import control_texts

THRESHOLDS = torch.tensor([1.0, 2.0])
PREVALENCES = [0.25, 1.0]


def pictures(y: list[int], cluster: list[int] | None = None) -> Pictures:
    """Pictures of two classes that are asked for y, and meant to be the other class."""
    question = torch.tensor(y)
    return Pictures(torch.zeros(len(y), 1, 1, 1), 1 - question, question, torch.tensor(cluster or range(len(y))))


def passing(shares: dict[str, tuple[int, int]]) -> dict[str, Negatives]:
    """Negatives of class 0 of which so many of so many pass; all are read."""
    return {
        name: Negatives(
            torch.zeros(of, dtype=torch.long),
            torch.where(torch.arange(of) < above, 9.0, -9.0),
            torch.ones(of, dtype=torch.bool),
            torch.arange(of),
        )
        for name, (above, of) in shares.items()
    }


def table(clean: tuple[int, int], **shares: tuple[int, int]) -> FalsePositiveTable:
    """Of an attack called `type1` and of controls."""
    found = passing(shares)
    return false_positive_table(
        passing({"clean": clean})["clean"], found, ["type1"], THRESHOLDS[:1], PREVALENCES, 0.95
    )


def test_false_positives_by_hand() -> None:
    """Of four pictures of class 0 the judge reads one as class 0 and one as nothing; of the two others one passes."""
    clean_scores = torch.tensor([[5.0, -5.0], [0.0, 3.0], [2.0, 9.0], [0.5, 9.0]])  # false: class 0 in the third
    labels = torch.tensor([0, 1, 1, 1])
    clean = Pictures(torch.zeros(4, 1, 1, 1), labels, None, torch.arange(4)).negatives(clean_scores, labels)
    scores = torch.tensor([[1.5, -9.0], [1.0, -9.0], [9.0, -9.0], [9.0, -9.0], [9.0, 2.5]])
    reads = torch.tensor([1, 1, 0, NOTHING, 0])
    attacked = pictures([0, 0, 0, 0, 1]).negatives(scores, reads)
    found = false_positive_table(clean, {"type1": attacked}, ["type1"], THRESHOLDS, PREVALENCES, 0.95)
    assert found.clean == {None: wilson(1, 4), 0: wilson(1, 3), 1: wilson(0, 1)}
    of_class = found.pictures["type1"][0]
    assert (of_class.pictures, of_class.left_out, of_class.passing) == (2, 2, wilson(1, 2))  # 1.0 is no more than 1.0
    assert of_class.excess == newcombe(wilson(1, 2), wilson(1, 3))
    assert of_class.fpr == [mixed_rate(0.25, wilson(1, 2), wilson(1, 3)), mixed_rate(1, wilson(1, 2), wilson(1, 3))]
    assert of_class.fpr[0].rate == pytest.approx(0.25 / 2 + 0.75 / 3)
    together = found.pictures["type1"][None]
    assert (together.pictures, together.left_out, together.passing) == (3, 2, wilson(2, 3))


def test_pictures_that_share_a_start_count_as_one_cluster() -> None:
    scores = torch.tensor([[9.0, 0.0]] * 3 + [[-9.0, 0.0]] * 3)
    of = pictures([0] * 6, cluster=[7, 7, 7, 8, 8, 8]).negatives(scores, torch.ones(6, dtype=torch.long))
    found = false_positive_table(of, {"type1": of}, ["type1"], THRESHOLDS[:1], PREVALENCES, 0.95).pictures["type1"][0]
    assert found.passing == clustered_rate([True] * 3 + [False] * 3, [7, 7, 7, 8, 8, 8])
    assert found.passing.high - found.passing.low > wilson(3, 6).high - wilson(3, 6).low


def test_pictures_that_pass_like_clean_images_add_nothing() -> None:
    """The negative control: whatever their prevalence, the rate stays that of clean images."""
    found = table((20, 1000), type1=(4, 200)).pictures["type1"][None]
    assert [rate.rate for rate in found.fpr] == pytest.approx([0.02, 0.02])
    assert not found.excess.excludes_zero


def test_attack_is_compared_with_each_control() -> None:
    found = table((10, 1000), type1=(198, 200), transition=(2, 200), starts=(0, 0))
    beyond = found.beyond_controls()["type1"]
    assert beyond["transition"] == newcombe(wilson(198, 200), wilson(2, 200))
    assert beyond["starts"] is None
    assert control_texts(found) == [
        "type1 passes +98.0% (+94.4 to +99.0) more often than transition.",
        "type1 can't be compared with starts: the judge reads y' in none of the pictures of one.",
    ]
