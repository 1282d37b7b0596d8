"""Alarms about maps: on maps that differ, on maps that don't, and how many of them are false."""

import pytest
import torch
from torch import Tensor

from cam_adv.studies.robust_explanation.map_alarm import map_alarms

COUNTS = (60, 300, 300)
Part = tuple[Tensor, Tensor]


def parts(shift: float, seed: int) -> tuple[Part, Part, Part]:
    """Maps of noise in three classes, with a diagonal of height `shift` in the attacked ones."""
    generator = torch.Generator().manual_seed(seed)
    attacked, calibration, honest = (
        (torch.randn(count, 4, 4, generator=generator), torch.randint(3, (count,), generator=generator))
        for count in COUNTS
    )
    return (attacked[0] + shift * torch.eye(4), attacked[1]), calibration, honest


def alarms(maps: tuple[Part, Part, Part], level: float, seed: int) -> tuple[Tensor, Tensor]:
    found = map_alarms(*maps, torch.arange(len(maps[0][1])), level, 5, seed)
    assert found is not None
    return found


def test_alarms_about_maps_that_differ() -> None:
    attacked, honest = alarms(parts(6.0, 0), level=0.05, seed=0)
    assert attacked.double().mean() > 0.95
    assert honest.double().mean() < 0.1


def test_alarms_about_maps_that_do_not_differ_have_their_level() -> None:
    """400 attacked and 2,000 honest maps without a difference: binomial intervals of 99.9% around 0.1."""
    found = [alarms(parts(0.0, seed), level=0.1, seed=seed) for seed in range(8)]
    attacked, honest = (torch.cat(column).double().mean() for column in zip(*found, strict=True))
    assert 0.05 < attacked < 0.16
    assert 0.07 < honest < 0.13


def first(part: Part, count: int) -> Part:
    return part[0][:count], part[1][:count]


@pytest.mark.parametrize("count", [0, 4])
def test_attacked_maps_from_fewer_starts_than_folds_have_no_detector(count: int) -> None:
    attacked, calibration, honest = parts(6.0, 0)
    assert map_alarms(first(attacked, count), calibration, honest, torch.arange(count), 0.05, 5, seed=0) is None
    assert map_alarms(attacked, calibration, honest, torch.arange(60) % 4, 0.05, 5, seed=0) is None
    assert map_alarms(attacked, calibration, honest, torch.arange(60) % 5, 0.05, 5, seed=0) is not None


def test_calibration_maps_without_a_quantile_have_no_detector() -> None:
    """Above the largest of 18 scores lies a share of 1/19, which is more than 5%."""
    attacked, calibration, honest = parts(6.0, 0)
    assert map_alarms(attacked, first(calibration, 18), honest, torch.arange(60), 0.05, 5, seed=0) is None
    enough = map_alarms(attacked, first(calibration, 19), honest, torch.arange(60), 0.05, 5, seed=0)
    assert enough is not None
    assert enough[0].double().mean() > 0.9


def test_a_detector_learns_nothing_of_a_map_from_others_of_its_cluster() -> None:
    """Six copies of each of ten maps of noise: found where copies are trained on, and by chance where not."""
    attacked, calibration, honest = parts(0.0, 0)
    copies, cluster = (attacked[0][:10].repeat(6, 1, 1), attacked[1][:10].repeat(6)), torch.arange(10).repeat(6)
    found = map_alarms(copies, calibration, honest, torch.arange(60), 0.05, 5, seed=0)
    apart = map_alarms(copies, calibration, honest, cluster, 0.05, 5, seed=0)
    assert found is not None
    assert apart is not None
    assert found[0].double().mean() > 0.9
    assert apart[0].double().mean() < 0.2
