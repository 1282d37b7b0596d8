"""Matched pairs, and detectors that separate them or not."""

import math

import pytest
import torch
from reliability_config import make_config

from cam_adv.studies.explanation_reliability.claims import Claims
from cam_adv.studies.explanation_reliability.concealment import (
    N_PERMUTATIONS,
    PAIR_COLUMNS,
    confidence_features,
    detector_auc_contributions,
    match_pairs,
    permutation_test,
    reader_scores,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("separable", [True, False])
def test_detector_auc_contributions_separable_and_equal_maps(separable: bool) -> None:
    count = 120
    label = torch.arange(count) % 3
    clean = torch.randn(count, 4, 4, generator=seeded(7))
    attacked = torch.randn(count, 4, 4, generator=seeded(8)) + (6.0 * torch.eye(4) if separable else 0)
    confidence = torch.randn(count, 2, generator=seeded(9))
    image = torch.arange(count) // 2
    other = clean.flip(0) - 8 * torch.eye(4)
    columns = detector_auc_contributions(
        (confidence, confidence), (attacked, clean), other, label, image, 5, 0.05, seed=0
    )
    assert set(columns) == {*PAIR_COLUMNS, "other_class"}
    assert {len(values) for values in columns.values()} == {count}
    assert columns["other_class"].mean() > 0.99
    pairs = {"victim": torch.zeros_like(image), "image": image, "start": image} | columns
    finding = Claims(make_config()).concealment({"map": (pairs, pairs)})["map"]
    auc = finding.details["AUC of map - 0.5"]
    if separable:
        assert auc.effect == pytest.approx(0.5, abs=1e-3)
        assert finding.verdict == "no"
        assert columns["evades"].mean() < 0.05
        assert permutation_test(columns, 0.1) == pytest.approx((1 / (1 + N_PERMUTATIONS), 1))
    else:
        assert auc.low < 0 < auc.high
        assert finding.verdict != "no"
        assert permutation_test(columns, 0.0)[0] > 0.01
        assert permutation_test(columns, 0.3)[1] < 0.01
        assert columns["evades"].mean() > 0.85
        assert columns["evades_reader"].mean() > 0.85


def test_permutation_test_without_pairs_returns_one() -> None:
    pairs = {"both": torch.empty(0), "confidence": torch.empty(0), "null": torch.empty(0, N_PERMUTATIONS)}
    assert permutation_test(pairs, 0.1) == (1, 1)


def test_permutation_test_shifts_the_null_distribution_by_the_threshold() -> None:
    """The map adds 0.3, the null is −0.1, 0 and 0.1: relative to 0.2, one of three is as large, all are as small."""
    pairs = {"both": torch.full((2,), 0.8), "confidence": torch.full((2,), 0.5)}
    pairs["null"] = torch.tensor([-0.1, 0.0, 0.1]).expand(2, 3)
    assert permutation_test(pairs, 0.2 - 1e-6) == (1 / 4, 1)
    assert permutation_test(pairs, 0.25) == (2 / 4, 3 / 4)


def test_reader_scores_are_dissimilarities_to_the_nearest_class_mean_without_the_own_pair() -> None:
    """Two classes with the patterns ↘ and ↗; the pair's own clean map takes no part in the mean."""
    down, up = torch.eye(2), torch.eye(2).flip(0)
    clean = torch.stack([down, down, up, up, down])
    attacked = torch.stack([down, up, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), -up, up])
    of_attacked, of_clean = reader_scores(attacked, clean, torch.tensor([0, 0, 1, 1, 2]))
    assert of_attacked.tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-6)
    assert of_clean.tolist() == pytest.approx([0, 0, 0, 0, 0], abs=1e-6)


def test_match_pairs_are_of_one_class_and_within_the_caliper() -> None:
    clean = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [2.1, 2.1]])
    clean_label = torch.tensor([0, 0, 0, 1])
    attacked = torch.tensor([[2.1, 2.1], [0.9, 0.9], [0.1, 0.1], [9.0, 9.0]])
    rows, columns = match_pairs(attacked, torch.tensor([0, 0, 0, 1]), clean, clean_label, caliper=0.5)
    assert rows.tolist() == [0, 1, 2]
    assert columns.tolist() == [2, 1, 0]


def test_match_pairs_use_each_clean_image_once() -> None:
    clean = torch.randn(30, 2, generator=seeded(0))
    rows, columns = match_pairs(clean[:1].repeat(9, 1), torch.zeros(9), clean, torch.zeros(30), caliper=5.0)
    assert len(rows) == len(columns.unique()) == 9


def test_match_pairs_with_fewer_than_two_clean_images_are_empty() -> None:
    rows, columns = match_pairs(torch.zeros(3, 2), torch.zeros(3), torch.zeros(1, 2), torch.zeros(1), caliper=5.0)
    assert len(rows) == len(columns) == 0


def test_confidence_features_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    log_odds = 2 - math.log(math.e + 1)
    assert confidence_features(logits, torch.tensor([0]))[0].tolist() == pytest.approx([log_odds, 1.0])
