"""Deletion and insertion: curves by hand, the order of pixels, and baselines."""

import math

import pytest
import torch
from torch import Tensor, nn

from cam_adv.metrics.deletion_insertion import black, blurred, deletion_insertion_curves, deletion_order, margin

CPU = torch.device("cpu")


def maps(seed: int, count: int = 5, side: int = 7) -> Tensor:
    return torch.randn(count, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor | list[float], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=tolerance)


def linear_network(weight: Tensor) -> nn.Module:
    """Logits: for class 0 the weighted sum of the pixels, for class 1 a third of it, for class 2 −1."""
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
def test_deletion_insertion_curves_by_hand(target: Tensor | None) -> None:
    """Pixels 1 of weights 6, 3, 0, 0: the margin to class 1 is 2/3 of the sum, in the best or in the worst order."""
    weight = torch.tensor([6.0, 3.0, 0.0, 0.0], dtype=torch.float64)
    images = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    order = torch.tensor([[[4.0, 3.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]], dtype=torch.float64)
    label = torch.tensor([0, 0])
    found = deletion_insertion_curves(
        linear_network(weight), images, black(images), order, label, target, 4, torch.Generator().manual_seed(0), CPU
    )
    assert found.fractions.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert_same(found.deletion, [[6.0, 2.0, 0.0, 0.0, 0.0], [6.0, 6.0, 6.0, 4.0, 0.0]])
    assert_same(found.insertion, [[0.0, 4.0, 6.0, 6.0, 6.0], [0.0, 0.0, 0.0, 2.0, 6.0]])
    assert_same(found.deletion_area, [1.25, 4.75])
    assert_same(found.insertion_area, [4.75, 1.25])


def test_deletion_order_follows_coarse_map_positions() -> None:
    """4×4 pixels under a 2×2 map: ranks 0 to 3 cover the highest position, and so on, in any order within."""
    coarse = torch.tensor([[[2.0, 3.0], [1.0, 0.0]]])
    rank = deletion_order(coarse, (4, 4), torch.Generator().manual_seed(0))[0]
    blocks = [rank[:2, 2:], rank[:2, :2], rank[2:, :2], rank[2:, 2:]]
    assert [sorted(block.flatten().tolist()) for block in blocks] == [list(range(n, n + 4)) for n in (0, 4, 8, 12)]


def test_deletion_order_breaks_ties_by_the_generator_alone() -> None:
    """Of a flat map every pixel has every rank equally often; of a map without ties the generator changes nothing."""
    flat = torch.full((4_000, 2, 2), 0.1)
    rank = deletion_order(flat, (6, 6), torch.Generator().manual_seed(1)).flatten(1).double()
    assert (rank.sort(dim=1).values == torch.arange(36)).all()
    deviation = math.sqrt((36**2 - 1) / 12 / 4_000)
    assert (rank.mean(dim=0) - 17.5).abs().max() < 4 * deviation
    again = [deletion_order(flat[:9], (6, 6), torch.Generator().manual_seed(seed)) for seed in (2, 2, 3)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    distinct = maps(16, side=6)
    orders = [deletion_order(distinct, (6, 6), torch.Generator().manual_seed(seed)) for seed in (4, 5)]
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0].flatten(1).argsort(dim=1), distinct.flatten(1).argsort(dim=1, descending=True))


def test_deletion_area_of_true_contributions_is_below_that_of_their_negative() -> None:
    weight = maps(17, count=1).flatten().abs()
    images = torch.rand(8, 1, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = images[:, 0] * weight.reshape(7, 7)
    areas = [
        deletion_insertion_curves(
            linear_network(weight),
            images,
            black(images),
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
    # Deleting from the top equals inserting from the bottom: the margins of a linear network are the same.
    assert_same(areas[0].deletion, areas[1].insertion.flip(1))


def test_blurred_keeps_constant_images_and_spreads_a_point() -> None:
    flat = torch.full((1, 3, 9, 9), 0.4, dtype=torch.float64)
    assert_same(blurred(flat, 2.0), flat)
    spot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    spot[0, 0, 4, 4] = 1.0
    soft = blurred(spot, 1.0)
    assert_same(soft.sum(), 1.0)
    ratio = (soft[0, 0, 4, 5] / soft[0, 0, 4, 4]).item()
    assert ratio == pytest.approx(math.exp(-0.5))
    assert (blurred(spot, 50.0) > 0).all()
