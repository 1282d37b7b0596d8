"""The benchmark's arithmetic, on work whose cost is known; nothing here is timed."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cam_adv.benchmark.alone import alone
from cam_adv.benchmark.comparison import Comparison, compare, of_pairs, seconds
from cam_adv.benchmark.machine import operations
from cam_adv.errors import UserError


def test_ratios_are_of_neighbours_and_without_the_first_round() -> None:
    """On a machine that takes ten times as long in every second round."""
    slow = [50.0, 1, 10, 1, 10, 1]
    ours, other = (iter([length * round_ for round_ in slow]) for length in (2.0, 3.0))
    line = compare("work", lambda: next(ours), "other work", lambda: next(other), repeats=5)
    assert (line.ours, line.other, line.ratio) == (2, 3, 1.5)
    assert (line.low, line.high) == pytest.approx((1.5, 1.5))
    assert next(ours, None) is None


def test_spread_is_that_of_the_pairs() -> None:
    pairs = [(1.0, float(tenths) / 10) for tenths in range(10, 21)]
    line = of_pairs("", "", pairs, "s")
    assert (line.ratio, line.low, line.high) == pytest.approx((1.5, 1.1, 1.9))
    alone_in_its_row = of_pairs("", "", [(2.0, 1.0)], "s")
    assert (alone_in_its_row.low, alone_in_its_row.ratio, alone_in_its_row.high) == (0.5, 0.5, 0.5)


def test_seconds_are_those_of_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 108.0])
    monkeypatch.setattr("cam_adv.benchmark.comparison.time.perf_counter", lambda: next(clock))
    assert seconds(lambda: None, 1 / 4)() == 2


def test_operations_by_hand() -> None:
    """A 3x3 convolution from 2 to 4 channels on 8x8 pixels of 5 images, and a product; twice with the way back."""
    layer, images = nn.Conv2d(2, 4, 3, padding=1).requires_grad_(False), torch.rand(5, 2, 8, 8)
    convolution, product = 2 * 5 * 4 * 8 * 8 * 2 * 9, 2 * 5 * 256 * 10
    weight = torch.rand(256, 10)

    def forward(leaf: torch.Tensor) -> torch.Tensor:
        return functional.relu(layer(leaf)).flatten(1) @ weight

    def both() -> None:
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(forward(leaf).sum(), leaf)

    assert operations(lambda: forward(images)) == convolution + product
    assert operations(both) == 2 * (convolution + product)


def case(repeats: int) -> Comparison:
    if repeats == 0:
        raise UserError("Peer is not installed.", "Use pip.")
    torch.zeros(50_000_000).fill_(1)
    return of_pairs("case", "other", [(1.0, 2.0)], "s")


def test_a_case_alone_tells_its_memory_and_its_errors() -> None:
    measured = alone(case, 1)
    assert measured.line == case(1)
    assert measured.memory > 200e6
    with pytest.raises(UserError, match="Peer is not installed"):
        alone(case, 0)
