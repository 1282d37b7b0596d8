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


def test_alarms_about_maps_that_differ() -> None:
    attacked, honest = map_alarms(*parts(6.0, 0), level=0.05, folds=5, seed=0)
    assert attacked.double().mean() > 0.95
    assert honest.double().mean() < 0.1


def test_alarms_about_maps_that_do_not_differ_have_their_level() -> None:
    """400 attacked and 2,000 honest maps without a difference: binomial intervals of 99.9% around 0.1."""
    found = [map_alarms(*parts(0.0, seed), level=0.1, folds=5, seed=seed) for seed in range(8)]
    attacked, honest = (torch.cat(column).double().mean() for column in zip(*found, strict=True))
    assert 0.05 < attacked < 0.16
    assert 0.07 < honest < 0.13


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_attacked_maps_give_no_alarm(count: int) -> None:
    attacked, calibration, honest = parts(6.0, 0)
    few = attacked[0][:count], attacked[1][:count]
    alarms = map_alarms(few, calibration, honest, level=0.05, folds=5, seed=0)
    assert [len(one) for one in alarms] == [count, 300]
    assert not torch.cat(alarms).any()
