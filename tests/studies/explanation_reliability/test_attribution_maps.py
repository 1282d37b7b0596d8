"""Reference maps that do not depend on the image, and the measure of change."""

import pytest
import torch

from cam_adv.studies.explanation_reliability.instability import map_dissimilarity
from cam_adv.studies.explanation_reliability.maps import mean_map, random_map

MAPS = torch.arange(16.0).reshape(4, 2, 2)


def test_mean_map_leaves_out_all_rows_of_its_own_image() -> None:
    image = torch.tensor([7, 7, 3, 5])  # the first two rows are one image with two targets
    found = mean_map(MAPS, image)
    assert torch.equal(found[0], (MAPS[2] + MAPS[3]) / 2)
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[2], (MAPS[0] + MAPS[1] + MAPS[3]) / 3)


def test_mean_map_of_a_single_image_is_zero() -> None:
    assert torch.equal(mean_map(MAPS, torch.zeros(4, dtype=torch.long)), torch.zeros(4, 2, 2))


def test_random_map_permutes_the_maps_own_values() -> None:
    many = MAPS.repeat(50, 1, 1)
    found = random_map(many, torch.Generator().manual_seed(0))
    assert torch.equal(found.flatten(1).sort(dim=1).values, many.flatten(1))
    unmoved = (found == many).double().mean()
    assert 0.15 < unmoved < 0.35  # one of four positions, by chance


def test_map_dissimilarity_by_hand() -> None:
    """The same map, twice it plus a constant, its negative, and constant maps."""
    one = torch.arange(4.0).reshape(1, 2, 2)
    before = torch.cat([one, one, one, one, torch.ones(1, 2, 2), torch.zeros(1, 2, 2)])
    after = torch.cat([one, 2 * one + 7, -one, torch.zeros(1, 2, 2), one, torch.ones(1, 2, 2)])
    assert map_dissimilarity(before, after).tolist() == pytest.approx([0, 0, 2, 1, 1, 0], abs=1e-6)
