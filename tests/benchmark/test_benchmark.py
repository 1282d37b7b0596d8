"""The arithmetic of the benchmark, on work with known costs; nothing here depends on real timings."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cam_adv.benchmark.comparison import Comparison, compare, compare_pairs, timed
from cam_adv.benchmark.isolated import run_isolated
from cam_adv.benchmark.machine import count_flops
from cam_adv.errors import UserError


def test_compare_pairs_consecutive_measurements_after_warm_up() -> None:
    """On a machine that is ten times slower in every second round."""
    slow = [50.0, 1, 10, 1, 10, 1]
    ours, theirs = (iter([seconds * factor for factor in slow]) for seconds in (2.0, 3.0))
    comparison = compare("work", lambda: next(ours), "other work", lambda: next(theirs), repeats=5)
    assert (comparison.ours, comparison.theirs, comparison.speedup) == (2, 3, 1.5)
    assert (comparison.low, comparison.high) == pytest.approx((1.5, 1.5))
    assert next(ours, None) is None


def test_compare_pairs_spread_is_deciles_of_ratios() -> None:
    pairs = [(1.0, float(tenths) / 10) for tenths in range(10, 21)]
    comparison = compare_pairs("", "", pairs, "s")
    assert (comparison.speedup, comparison.low, comparison.high) == pytest.approx((1.5, 1.1, 1.9))
    single = compare_pairs("", "", [(2.0, 1.0)], "s")
    assert (single.low, single.speedup, single.high) == (0.5, 0.5, 0.5)


def test_timed_returns_seconds_of_one_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 108.0])
    monkeypatch.setattr("cam_adv.benchmark.comparison.time.perf_counter", lambda: next(clock))
    assert timed(lambda: None, 1 / 4)() == 2


def test_count_flops_matches_count_by_hand() -> None:
    """A 3x3 convolution from 2 to 4 channels on 8x8 pixels of 5 images, and a product; twice that with backward."""
    layer, images = nn.Conv2d(2, 4, 3, padding=1).requires_grad_(False), torch.rand(5, 2, 8, 8)
    convolution, product = 2 * 5 * 4 * 8 * 8 * 2 * 9, 2 * 5 * 256 * 10
    weight = torch.rand(256, 10)

    def forward(leaf: torch.Tensor) -> torch.Tensor:
        return functional.relu(layer(leaf)).flatten(1) @ weight

    def forward_and_backward() -> None:
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(forward(leaf).sum(), leaf)

    assert count_flops(lambda: forward(images)) == convolution + product
    assert count_flops(forward_and_backward) == 2 * (convolution + product)


def case(repeats: int) -> Comparison:
    if repeats == 0:
        raise UserError("Peer is not installed.", "Use pip.")
    torch.zeros(50_000_000).fill_(1)
    return compare_pairs("case", "other", [(1.0, 2.0)], "s")


@pytest.mark.slow
def test_run_isolated_returns_memory_and_raises_errors_of_case() -> None:
    run = run_isolated(case, 1)
    assert run.comparison == case(1)
    assert run.peak_memory > 200e6
    with pytest.raises(UserError, match="Peer is not installed"):
        run_isolated(case, 0)
