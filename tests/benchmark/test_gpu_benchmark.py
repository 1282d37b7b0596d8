"""The benchmark of a device: what it measures is there and adds up, on the CPU and in a small."""

import pytest
import torch
from conftest import AttackRun

from cam_adv.benchmark.gpu import Sizes, measure


@pytest.mark.slow
def test_figures_of_a_device(attack_run: AttackRun, tiny: list[str]) -> None:
    sizes = Sizes(batches=(6, 12), steps=(1, 3), images=12, compared=0)
    overrides = [*tiny, f"outputs={attack_run.root / 'outputs'}"]
    figures = {figure.name: figure.value for figure in measure(overrides, torch.device("cpu"), sizes)}
    assert all(value > 0 for value in figures.values())
    for batch in sizes.batches:
        assert {f"step, {batch} images", f"its bare parts, {batch} images"} <= figures.keys()
        assert figures[f"share of the matrix product's rate, {batch} images"] < 100
    assert "image-steps a second from end to end, 12 images" in figures
    assert not any("GPU" in name or "CUDA" in name for name in figures)
