"""Similarity of maps: by hand, against SciPy, and with ties, constant and blank maps."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.attributions.cam import checked_cams, find_cam_head
from cam_adv.metrics.map_similarity import (
    centre_shift,
    centred_cosine,
    mean_change,
    positive_mass,
    spearman,
    ssim,
    top_iou,
)
from cam_adv.models.victims import TinyGapCNN


def maps(seed: int, count: int = 5, side: int = 7) -> Tensor:
    return torch.randn(count, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tied(seed: int) -> Tensor:
    """Maps of few different values."""
    return maps(seed).mul(1.5).round()


def at(*positions: tuple[int, int], side: int = 7) -> Tensor:
    """One map `(1, side, side)`, 1 at these positions and −1 elsewhere."""
    only = torch.full((1, side, side), -1.0, dtype=torch.float64)
    for row, column in positions:
        only[0, row, column] = 1.0
    return only


def assert_same(found: Tensor, expected: Tensor | list[float], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=tolerance)


def test_mean_change_of_cam_equals_change_of_logit() -> None:
    torch.manual_seed(0)
    network = TinyGapCNN(1, 10).double().eval()
    images = torch.rand(2, 6, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cam_head = find_cam_head(network, images[0])
    assert cam_head is not None
    (logits, before), (logits_after, after) = (checked_cams(network, cam_head, part) for part in images)
    for label in range(10):
        expected = logits_after[:, label] - logits[:, label]
        assert_same(mean_change(before[:, label], after[:, label]), expected.detach())


@pytest.mark.parametrize("make", [maps, tied])
def test_correlations_match_scipy(make: Callable[[int], Tensor]) -> None:
    before, after = make(1), make(2)
    pairs = [(a.flatten().numpy(), b.flatten().numpy()) for a, b in zip(before, after, strict=True)]
    assert_same(centred_cosine(before, after), [stats.pearsonr(a, b).statistic for a, b in pairs])
    assert_same(spearman(before, after), [stats.spearmanr(a, b).statistic for a, b in pairs])


def test_correlations_are_invariant_to_scale_and_offset_but_not_sign() -> None:
    before = maps(3)
    for measure in (centred_cosine, spearman):
        assert_same(measure(before, 1e3 * before - 7), [1.0] * 5)
        assert_same(measure(before, -before), [-1.0] * 5)
    assert_same(spearman(before, before.exp()), [1.0] * 5)


def test_correlations_with_constant_map_are_nan() -> None:
    before = maps(4)
    flat = torch.full_like(before, 0.3)  # whose mean is not quite 0.3
    for measure in (centred_cosine, spearman):
        assert measure(before, flat).isnan().all()
        assert measure(flat, before).isnan().all()
        mixed = torch.cat([before[:1], flat[:1]])
        assert measure(mixed, before[:2]).isnan().tolist() == [False, True]


def test_top_iou_by_hand() -> None:
    """Of three each, two in common: 2 / 4. All in common, none in common, all of them."""
    before = torch.arange(9.0).reshape(1, 3, 3)
    moved = before.clone()
    moved[0, 0, 0], moved[0, 2, 2] = 8.0, 0.0
    assert top_iou(before, moved, 3).tolist() == [0.5]
    assert top_iou(before, -before, 3).tolist() == [0.0]
    assert top_iou(before, -before, 9).tolist() == [1.0]
    for count in (0, 10):
        with pytest.raises(ValueError, match="positions can't be the highest"):
            top_iou(before, moved, count)


def test_top_iou_with_ties_by_hand() -> None:
    """Three positions share two places, two thirds each; in the other map the first of them is the only maximum.

    Its second place is shared by the eight others, an eighth each.
    """
    before = torch.tensor([[[5.0, 5.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    after = torch.tensor([[[9.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    smaller, larger = 2 / 3 + 2 * 1 / 8, 1 + 2 * 2 / 3 + 6 * 1 / 8
    assert top_iou(before, after, 2).item() == pytest.approx(smaller / larger)
    for same in (before, after, torch.zeros(1, 3, 3)):
        assert top_iou(same, same, 2).tolist() == [1.0]


def test_top_iou_is_invariant_to_order_of_positions() -> None:
    before, after = tied(5), tied(6)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(0))
    moved = [part.flatten(1)[:, order].unflatten(1, (7, 7)) for part in (before, after)]
    for count in (1, 5, 20):
        assert_same(top_iou(*moved, count), top_iou(before, after, count))


def test_centre_shift_by_hand() -> None:
    """From (0, 0) to (3, 4) are 5 positions; of two equal ones the centre is between; the negative has no weight."""
    assert_same(centre_shift(at((0, 0)), at((3, 4))), [5.0])
    assert_same(centre_shift(at((0, 0)), at((0, 2), (0, 6))), [4.0])
    assert_same(centre_shift(at((0, 0)), 1e-3 * at((0, 0))), [0.0])


def test_positive_mass_without_positive_part_is_uniform() -> None:
    negative = -maps(7).abs() - 1
    assert_same(positive_mass(negative), torch.full((5, 49), 1 / 49))
    assert_same(positive_mass(maps(7)).sum(dim=1), [1.0] * 5)
    assert_same(centre_shift(negative, 2 * negative), [0.0] * 5)
    assert_same(centre_shift(at((0, 0)), negative[:1]), [math.hypot(3, 3)])


def test_ssim_matches_naive_windows_for_a_given_range() -> None:
    before, after = maps(8, side=5), maps(9, side=5)
    for data_range in (1.0, 8.0):
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        expected = []
        for a, b in zip(before, after, strict=True):
            windows = []
            for row, column in itertools.product(range(5), repeat=2):
                # Beyond the border the map is mirrored, the border itself not repeated.
                rows, columns = ([4 - abs(4 - abs(i + d)) for d in (-1, 0, 1)] for i in (row, column))
                p, q = (part[rows][:, columns] for part in (a, b))
                means, spread = 2 * p.mean() * q.mean(), ((p - p.mean()) * (q - q.mean())).mean()
                structure = (2 * spread + c2) / (p.var(correction=0) + q.var(correction=0) + c2)
                windows.append((means + c1) / (p.mean() ** 2 + q.mean() ** 2 + c1) * structure)
            expected.append(torch.stack(windows).mean())
        assert_same(ssim(before, after, data_range), torch.stack(expected))


def test_ssim_uses_one_range_for_all_pairs() -> None:
    before, after = maps(10), maps(11)
    pooled = ssim(before, after, 6.0)
    assert_same(torch.cat([ssim(before[n : n + 1], after[n : n + 1], 6.0) for n in range(5)]), pooled)
    assert_same(ssim(before, before, 6.0), [1.0] * 5)
    assert_same(ssim(1e-3 * before, 1e-3 * after, 6e-3), pooled)
    assert (ssim(before, after, 60.0) > pooled).all()
    with pytest.raises(ValueError, match="data range of 0"):
        ssim(before, after, 0.0)


def test_similarity_of_map_with_nan_is_nan() -> None:
    broken = maps(14)
    broken[2, 0, 0] = torch.nan
    for measure in (mean_change, centred_cosine, spearman, centre_shift, partial(top_iou, positions=5)):
        assert measure(broken, maps(15)).isnan().tolist() == [False, False, True, False, False]
