"""The earth mover's distance: by hand and against SciPy."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from cam_adv.metrics.earth_mover import earth_movers_distance
from cam_adv.metrics.map_similarity import grid_positions, positive_mass


def maps(seed: int, count: int = 5, side: int = 7) -> Tensor:
    return torch.randn(count, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(*positions: tuple[int, int], side: int = 7) -> Tensor:
    """One map `(1, side, side)`, 1 at these positions and −1 elsewhere."""
    only = torch.full((1, side, side), -1.0, dtype=torch.float64)
    for row, column in positions:
        only[0, row, column] = 1.0
    return only


def assert_same(found: Tensor, expected: Tensor | list[float], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=tolerance)


def test_earth_movers_distance_by_hand() -> None:
    """All of it 5 positions; half of it 4 positions; half 1 and half 1; nothing."""
    assert_same(earth_movers_distance(at((0, 0)), at((3, 4))), [5.0])
    assert_same(earth_movers_distance(at((0, 0)), at((0, 0), (0, 4))), [2.0])
    assert_same(earth_movers_distance(at((2, 2), (4, 2)), at((2, 3), (4, 3))), [1.0])
    assert_same(earth_movers_distance(at((1, 1)), 3 * at((1, 1))), [0.0])


def test_earth_movers_distance_matches_scipy() -> None:
    """Including a blank map and equal maps."""
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


def test_earth_movers_distance_of_one_row_matches_scipys_1d_distance() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 7))
    before, after = (torch.from_numpy(row).reshape(1, 1, 7) for row in (one, other))
    expected = stats.wasserstein_distance(range(7), range(7), one, other)
    assert_same(earth_movers_distance(before, after), [expected])


def test_earth_movers_distance_between_maps_without_positive_part_and_constant_is_zero() -> None:
    negative = -maps(7).abs() - 1
    constant = torch.full_like(negative, 2.0)
    assert_same(earth_movers_distance(negative, constant), [0.0] * 5)


def test_earth_movers_distance_of_map_with_nan_raises() -> None:
    broken = maps(14)
    broken[2, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        earth_movers_distance(broken, maps(15))
