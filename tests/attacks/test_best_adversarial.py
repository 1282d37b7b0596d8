"""The nearest adversarial images, and the binary search on the line back to x: worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attacks.best_adversarial import BestAdversarial, boundary_binary_search, misclassified


def threshold(at: float) -> nn.Module:
    """Predicts 1 for an image of one pixel above `at`, else 0."""
    layer = nn.Linear(1, 2)
    layer.weight.data, layer.bias.data = torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -at])
    return nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)


def pixels(*values: float) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def test_misclassified_by_hand() -> None:
    found = misclassified(threshold(0.7), pixels(0.6, 0.8, 0.8), torch.tensor([0, 0, 1]))
    assert found.tolist() == [False, True, False]


def test_best_adversarial_keeps_the_nearest_adversarial_images() -> None:
    best = BestAdversarial(pixels(0.5, 0.5, 0.5), "l2")
    assert best.distance.tolist() == [math.inf] * 3
    best.keep(pixels(0.9, 0.9, 0.9), torch.tensor([True, True, False]))
    best.keep(pixels(0.7, 1.0, 0.6), torch.tensor([True, True, False]))
    assert best.images.flatten().tolist() == pytest.approx([0.7, 0.9, 0.5])
    assert best.distance.tolist() == pytest.approx([0.2, 0.4, math.inf])


def test_boundary_binary_search_stops_beyond_the_boundary() -> None:
    x, y = pixels(0.5, 0.5), torch.tensor([0, 0])
    back = boundary_binary_search(threshold(0.7), x, pixels(1.0, 0.6), y, 20).flatten()
    assert 0.7 < back[0] < 0.7 + 1e-5
    assert back[1] == pytest.approx(0.6)
