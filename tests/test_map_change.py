"""Measures of map change: by hand, against scipy and torchmetrics, and what ties and blank maps give."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from cam_adv.evaluation.earth_mover import earth_movers_distance
from cam_adv.evaluation.erasure import black, blurred, erasure_curves, erasure_order, margin
from cam_adv.evaluation.map_change import (
    centre_shift,
    centred_cosine,
    grid_positions,
    mean_change,
    positive_mass,
    spearman,
    ssim,
    top_iou,
)
from cam_adv.explanation.cam import explain, find_gap_linear
from cam_adv.networks.victims import TinyGapCNN

CPU = torch.device("cpu")


def maps(seed: int, count: int = 5, side: int = 7) -> Tensor:
    return torch.randn(count, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tied(seed: int) -> Tensor:
    """Maps of few different values."""
    return maps(seed).mul(1.5).round()


def at(*places: tuple[int, int], side: int = 7) -> Tensor:
    """One map `(1, side, side)` that is 1 at the places, −1 elsewhere."""
    only = torch.full((1, side, side), -1.0, dtype=torch.float64)
    for row, column in places:
        only[0, row, column] = 1.0
    return only


def assert_same(found: Tensor, expected: Tensor | list[float], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=tolerance)


# Values


def test_mean_change_of_cam_is_the_change_of_the_logit() -> None:
    torch.manual_seed(0)
    network = TinyGapCNN(1, 10).double().eval()
    pictures = torch.rand(2, 6, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    place = find_gap_linear(network, pictures[0])
    assert place is not None
    (logits, before), (logits_after, after) = (explain(network, place, part) for part in pictures)
    for label in range(10):
        expected = logits_after[:, label] - logits[:, label]
        assert_same(mean_change(before[:, label], after[:, label]), expected.detach())


@pytest.mark.parametrize("make", [maps, tied])
def test_correlations_agree_with_scipy(make) -> None:
    before, after = make(1), make(2)
    pairs = [(a.flatten().numpy(), b.flatten().numpy()) for a, b in zip(before, after, strict=True)]
    assert_same(centred_cosine(before, after), [stats.pearsonr(a, b).statistic for a, b in pairs])
    assert_same(spearman(before, after), [stats.spearmanr(a, b).statistic for a, b in pairs])


def test_correlations_ignore_scale_and_offset_and_see_the_sign() -> None:
    before = maps(3)
    for measure in (centred_cosine, spearman):
        assert_same(measure(before, 1e3 * before - 7), [1.0] * 5)
        assert_same(measure(before, -before), [-1.0] * 5)
    assert_same(spearman(before, before.exp()), [1.0] * 5)


def test_correlation_with_a_map_without_a_pattern_is_not_a_number() -> None:
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
    """Three positions share two places, two thirds each; in the other map the first of them is alone on top.

    Its second place is shared by the eight others, an eighth each.
    """
    before = torch.tensor([[[5.0, 5.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    after = torch.tensor([[[9.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    smaller, larger = 2 / 3 + 2 * 1 / 8, 1 + 2 * 2 / 3 + 6 * 1 / 8
    assert top_iou(before, after, 2).item() == pytest.approx(smaller / larger)
    for same in (before, after, torch.zeros(1, 3, 3)):
        assert top_iou(same, same, 2).tolist() == [1.0]


def test_top_iou_does_not_depend_on_the_order_of_ties() -> None:
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


def test_maps_without_a_positive_part_have_their_mass_everywhere() -> None:
    negative = -maps(7).abs() - 1
    assert_same(positive_mass(negative), torch.full((5, 49), 1 / 49))
    assert_same(positive_mass(maps(7)).sum(dim=1), [1.0] * 5)
    assert_same(centre_shift(negative, 2 * negative), [0.0] * 5)
    assert_same(centre_shift(at((0, 0)), negative[:1]), [math.hypot(3, 3)])
    everywhere = torch.full_like(negative, 2.0)
    assert_same(earth_movers_distance(negative, everywhere), [0.0] * 5)


def test_ssim_by_its_formula_with_the_range_given() -> None:
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


def test_ssim_judges_every_pair_by_the_same_range() -> None:
    before, after = maps(10), maps(11)
    together = ssim(before, after, 6.0)
    assert_same(torch.cat([ssim(before[n : n + 1], after[n : n + 1], 6.0) for n in range(5)]), together)
    assert_same(ssim(before, before, 6.0), [1.0] * 5)
    assert_same(ssim(1e-3 * before, 1e-3 * after, 6e-3), together)
    assert (ssim(before, after, 60.0) > together).all()
    with pytest.raises(ValueError, match="data range of 0"):
        ssim(before, after, 0.0)


# Earth mover's distance


def test_earth_movers_distance_by_hand() -> None:
    """All of it 5 positions; half of it 4 positions; half 1 and half 1; nothing."""
    assert_same(earth_movers_distance(at((0, 0)), at((3, 4))), [5.0])
    assert_same(earth_movers_distance(at((0, 0)), at((0, 0), (0, 4))), [2.0])
    assert_same(earth_movers_distance(at((2, 2), (4, 2)), at((2, 3), (4, 3))), [1.0])
    assert_same(earth_movers_distance(at((1, 1)), 3 * at((1, 1))), [0.0])


def test_earth_movers_distance_agrees_with_scipy() -> None:
    """A blank map and equal maps among them."""
    before, after = maps(12, 20, side=5), maps(13, 20, side=5)
    before[3] = -1.0
    after[7], after[-1] = 3 * before[7], before[-1]
    grid = grid_positions(5, 5).numpy()
    expected = [
        stats.wasserstein_distance_nd(grid, grid, a.numpy(), b.numpy())
        for a, b in zip(positive_mass(before), positive_mass(after), strict=True)
    ]
    found = earth_movers_distance(before, after)
    assert_same(found, expected)
    assert_same(earth_movers_distance(after, before), found)


def test_earth_movers_distance_of_a_shift_in_one_row_is_that_of_the_line() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 7))
    before, after = (torch.from_numpy(row).reshape(1, 1, 7) for row in (one, other))
    expected = stats.wasserstein_distance(range(7), range(7), one, other)
    assert_same(earth_movers_distance(before, after), [expected])


def test_maps_with_nan_have_no_answer() -> None:
    broken = maps(14)
    broken[2, 0, 0] = torch.nan
    for measure in (mean_change, centred_cosine, spearman, centre_shift, partial(top_iou, positions=5)):
        assert measure(broken, maps(15)).isnan().tolist() == [False, False, True, False, False]
    with pytest.raises(ValueError, match="NaN"):
        earth_movers_distance(broken, maps(15))


# Erasure


def reader(weight: Tensor) -> nn.Module:
    """Logits: of class 0 the weighted sum of the pixels, of class 1 a third of it, of class 2 −1."""
    rows = torch.stack([weight, weight / 3, 0 * weight])
    network = nn.Sequential(nn.Flatten(), nn.Linear(len(weight), 3)).double()
    network[1].weight = nn.Parameter(rows)
    network[1].bias = nn.Parameter(torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64))
    return network


def test_margin_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]])
    label, target = torch.tensor([0, 2]), torch.tensor([1, 0])
    assert margin(logits, label, None).tolist() == [1.0, -6.0]
    assert margin(logits, label, target).tolist() == [2.0, -1.0]


@pytest.mark.parametrize("target", [None, torch.tensor([1, 1])])
def test_erasure_curves_by_hand(target: Tensor | None) -> None:
    """Pixels 1 of weights 6, 3, 0, 0: the margin to class 1 is 2/3 of what is lit, best first or worst first."""
    weight = torch.tensor([6.0, 3.0, 0.0, 0.0], dtype=torch.float64)
    pictures = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    order = torch.tensor([[[4.0, 3.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]], dtype=torch.float64)
    label = torch.tensor([0, 0])
    found = erasure_curves(
        reader(weight), pictures, black(pictures), order, label, target, 4, torch.Generator().manual_seed(0), CPU
    )
    assert found.fractions.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert_same(found.deletion, [[6.0, 2.0, 0.0, 0.0, 0.0], [6.0, 6.0, 6.0, 4.0, 0.0]])
    assert_same(found.insertion, [[0.0, 4.0, 6.0, 6.0, 6.0], [0.0, 0.0, 0.0, 2.0, 6.0]])
    assert_same(found.deletion_area, [1.25, 4.75])
    assert_same(found.insertion_area, [4.75, 1.25])


def test_erasure_follows_the_coarse_maps_position_by_position() -> None:
    """4×4 pixels under a 2×2 map: ranks 0 to 3 cover the highest position, and so on, in any order within."""
    coarse = torch.tensor([[[2.0, 3.0], [1.0, 0.0]]])
    rank = erasure_order(coarse, (4, 4), torch.Generator().manual_seed(0))[0]
    blocks = [rank[:2, 2:], rank[:2, :2], rank[2:, :2], rank[2:, 2:]]
    assert [sorted(block.flatten().tolist()) for block in blocks] == [list(range(n, n + 4)) for n in (0, 4, 8, 12)]


def test_ties_are_broken_by_the_generator_alone() -> None:
    """Of a flat map every pixel has every rank equally often; of a map without ties the generator changes nothing."""
    flat = torch.full((4_000, 2, 2), 0.1)
    rank = erasure_order(flat, (6, 6), torch.Generator().manual_seed(1)).flatten(1).double()
    assert (rank.sort(dim=1).values == torch.arange(36)).all()
    deviation = math.sqrt((36**2 - 1) / 12 / 4_000)
    assert (rank.mean(dim=0) - 17.5).abs().max() < 4 * deviation
    again = [erasure_order(flat[:9], (6, 6), torch.Generator().manual_seed(seed)) for seed in (2, 2, 3)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    distinct = maps(16, side=6)
    orders = [erasure_order(distinct, (6, 6), torch.Generator().manual_seed(seed)) for seed in (4, 5)]
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0].flatten(1).argsort(dim=1), distinct.flatten(1).argsort(dim=1, descending=True))


def test_cam_erases_a_linear_networks_margin_faster_than_its_opposite() -> None:
    weight = maps(17, count=1).flatten().abs()
    pictures = torch.rand(8, 1, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = pictures[:, 0] * weight.reshape(7, 7)
    areas = [
        erasure_curves(
            reader(weight),
            pictures,
            black(pictures),
            sign * shares,
            torch.zeros(8, dtype=torch.long),
            None,
            49,
            torch.Generator().manual_seed(0),
            CPU,
        )
        for sign in (1, -1)
    ]
    assert (areas[0].deletion_area < areas[1].deletion_area).all()
    assert (areas[0].insertion_area > areas[1].insertion_area).all()
    # Erasing from the top is inserting from the bottom: a linear network's margins are the same.
    assert_same(areas[0].deletion, areas[1].insertion.flip(1))


def test_blurred_keeps_what_is_flat_and_spreads_what_is_not() -> None:
    flat = torch.full((1, 3, 9, 9), 0.4, dtype=torch.float64)
    assert_same(blurred(flat, 2.0), flat)
    spot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    spot[0, 0, 4, 4] = 1.0
    soft = blurred(spot, 1.0)
    assert_same(soft.sum(), 1.0)
    ratio = (soft[0, 0, 4, 5] / soft[0, 0, 4, 4]).item()
    assert ratio == pytest.approx(math.exp(-0.5))
    assert (blurred(spot, 50.0) > 0).all()
