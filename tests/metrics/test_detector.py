"""The held-out classifier and contributions to its AUC: by hand and on random data."""

import pytest
import torch

from cam_adv.metrics.detector import assign_folds, auc_contributions, column_aucs, held_out_scores


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_auc_contributions_by_hand() -> None:
    """Of nine pairs six are in order and one is a tie."""
    positive, negative = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 2.5])
    parts = auc_contributions(positive, negative)
    assert parts.mean().item() == pytest.approx(5.5 / 9)
    # Above 1, 2 and 3 lie all but 1, 1½ and 3 negatives; below the negatives 0, 2 and 2½ all but 3, 1½ and 1.
    expected = torch.tensor([1 + 3, 1.5 + 1.5, 3 + 1]) / 3 - 5.5 / 9
    assert torch.allclose(parts, expected.double())


def test_column_aucs_are_the_mean_of_auc_contributions() -> None:
    scores, kind = torch.randn(40, 3, generator=seeded()).round(decimals=1), torch.arange(40).unsqueeze(1) // 20
    for column, area in enumerate(column_aucs(scores, kind.expand(40, 3))):
        assert area.item() == pytest.approx(auc_contributions(scores[20:, column], scores[:20, column]).mean().item())


def test_assign_folds_keeps_groups_together() -> None:
    group = torch.tensor([7, 7, 3, 9, 9, 9, 1])
    fold = assign_folds(group, 3, seeded())
    assert all(len(fold[group == number].unique()) == 1 for number in group)
    assert fold.unique().tolist() == [0, 1, 2]


def test_held_out_scores_of_random_kinds_are_at_chance() -> None:
    """Kinds are random: memorised training rows would raise the AUC above 0.5."""
    features = torch.randn(400, 10, generator=seeded(5))
    kind = torch.randint(2, (400,), generator=seeded(6))
    scores = held_out_scores(features, kind, torch.arange(400) % 5)
    area = (scores[kind == 1][:, None] > scores[kind == 0]).double().mean().item()
    assert area == pytest.approx(0.5, abs=0.09)  # three standard errors
