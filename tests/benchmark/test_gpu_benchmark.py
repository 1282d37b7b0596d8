"""The benchmark of a device: what it measures is there, on the CPU and with few images."""

import math

import pytest
import torch
from conftest import AttackRun

from cam_adv.benchmark.gpu import Sizes, measure


@pytest.mark.slow
def test_figures_of_a_device(attack_run: AttackRun, tiny: list[str]) -> None:
    sizes = Sizes(batches=(6, 12), steps=(1, 3), images=12, compared=0)
    overrides = [*tiny, f"outputs={attack_run.root / 'outputs'}"]
    figures = {figure.name: figure.value for figure in measure(overrides, torch.device("cpu"), sizes)}
    assert all(map(math.isfinite, figures.values()))  # a step is a difference of times, below 0 on a busy machine
    assert all(figures[name] > 0 for name in ("matrix product", "peak memory of the process"))
    for batch in sizes.batches:
        names = ("step", "its bare parts", "share of the matrix product's rate")
        assert {f"{name}, {batch} images" for name in names} <= figures.keys()
    assert "image-steps a second from end to end, 12 images" in figures
    assert not any("GPU" in name or "CUDA" in name for name in figures)
