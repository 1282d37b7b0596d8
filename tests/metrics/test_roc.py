"""ROC curves, their area and its interval, and thresholds: by hand, against scikit-learn and DeLong."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

from cam_adv.metrics.detector import auc_contributions
from cam_adv.metrics.intervals import wilson
from cam_adv.metrics.roc import ScoredImages, auc_interval, roc_auc, roc_curve, threshold_at_fpr


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rounded(count: int, shift: float, seed: int) -> Tensor:
    """Normal scores with ties."""
    return ((torch.randn(count, generator=seeded(seed), dtype=torch.float64) + shift) * 4).round() / 4


def test_roc_curve_and_auc_by_hand() -> None:
    """Of six pairs three are in order, one side of two of the others is level: (4 + 2/2) / 6."""
    positives, negatives = torch.tensor([3.0, 2.0, 2.0]), torch.tensor([2.0, 1.0])
    false, true = roc_curve(positives, negatives)
    assert false.tolist() == [0, 0, 0.5, 1]
    assert true.tolist() == pytest.approx([0, 1 / 3, 1, 1])
    assert roc_auc(positives, negatives) == pytest.approx(5 / 6)


def test_roc_curve_and_auc_match_sklearn() -> None:
    positives, negatives = rounded(70, 0.8, seed=1), rounded(50, 0, seed=2)
    scores, truth = torch.cat([positives, negatives]), np.repeat([1, 0], [70, 50])
    area = roc_auc(positives, negatives)
    assert area == pytest.approx(metrics.roc_auc_score(truth, scores))
    false, true = roc_curve(positives, negatives)
    assert torch.trapezoid(true, false).item() == pytest.approx(area)
    theirs = metrics.roc_curve(truth, scores, drop_intermediate=False)[:2]
    points = {(round(x, 9), round(y, 9)) for x, y in zip(*theirs, strict=True)}
    assert {(round(x, 9), round(y, 9)) for x, y in zip(false.tolist(), true.tolist(), strict=True)} <= points


def test_roc_auc_depends_on_ranks_alone() -> None:
    positives, negatives = rounded(40, 0.5, seed=3), rounded(30, 0, seed=4)
    area = roc_auc(positives, negatives)
    assert roc_auc(positives.exp(), negatives.exp()) == pytest.approx(area, abs=1e-12)
    assert roc_auc(negatives, positives) == pytest.approx(1 - area, abs=1e-12)
    assert roc_auc(-negatives, -positives) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "share", "threshold"),
    [
        ([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.2, 7),  # 8 and 9 lie above
        ([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.29, 7),  # a third would be too many
        ([0.0, 1, 2, 3, 4, 5, 6, 7, 7, 7], 0.2, 7),  # none lies above: two of three that are level can't
        ([0.0, 1, 2], 0.01, 2),
    ],
)
def test_threshold_at_fpr_by_hand(scores: list[float], share: float, threshold: float) -> None:
    assert threshold_at_fpr(torch.tensor(scores), share) == threshold


def test_threshold_at_fpr_passes_the_target_share() -> None:
    """Also 0.29·100, which is a little less than 29 in floating point."""
    scores = torch.randperm(100, generator=seeded()).double()
    for percent in range(1, 100):
        assert int((scores > threshold_at_fpr(scores, percent / 100)).sum()) == percent


def test_auc_interval_has_the_width_of_delongs() -> None:
    """Of two independent samples, and of images with shared source images, whose influences add up in pairs."""
    first, second = rounded(250, 0.7, seed=5), rounded(250, 0, seed=6)
    positives, alone = ScoredImages(first, torch.arange(250)), ScoredImages(second, torch.arange(250, 500))
    above = (first[:, None] > second).double() + (first[:, None] == second).double() / 2
    delong = (above.mean(dim=1).var() / 250 + above.mean(dim=0).var() / 250).sqrt().item()
    found = auc_interval(positives, alone, 2000, 0.95, seeded())
    assert found.estimate == pytest.approx(above.mean().item())
    assert found.high - found.low == pytest.approx(2 * 1.96 * delong, rel=0.08)

    second = first - rounded(250, 0.3, seed=7)
    shared = auc_interval(positives, ScoredImages(second, torch.arange(250)), 2000, 0.95, seeded())
    paired = auc_contributions(first, second).std().item() / math.sqrt(250)
    assert shared.high - shared.low == pytest.approx(2 * 1.96 * paired, rel=0.08)
    apart = auc_interval(positives, ScoredImages(second, torch.arange(250, 500)), 2000, 0.95, seeded())
    assert apart.high - apart.low > 1.3 * (shared.high - shared.low)


def test_auc_interval_without_overlap_is_wilson_of_disjoint_pairs() -> None:
    above = ScoredImages(torch.tensor([5.0, 6, 7]), torch.arange(3))
    below = ScoredImages(torch.tensor([1.0, 2, 3, 4]), torch.arange(3, 7))
    assert vars(auc_interval(above, below, 200, 0.95, seeded())) == {
        "estimate": 1.0,
        "low": wilson(3, 3).low,
        "high": 1.0,
    }
    assert auc_interval(below, above, 200, 0.95, seeded()).high == pytest.approx(wilson(0, 3).high)
