"""The search for the minimal perturbation: linear networks whose decision boundary is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attacks.best_adversarial import misclassified
from cam_adv.models.lp_balls import lp_norm
from cam_adv.studies.min_perturbation.bisection import ImageCallback, bisect_radius
from cam_adv.studies.min_perturbation.clever import clever
from cam_adv.studies.min_perturbation.config import DDNSearch, PGDSearch, SearchConfig
from cam_adv.studies.min_perturbation.search import find_minimal_perturbation, number_of_attacks

NORMS = ("l1", "l2", "linf")
CONFIG = SearchConfig(
    ddn=DDNSearch(steps=100, first_radius=1.0, gamma=0.05),
    pgd=PGDSearch(bisection_steps=8, steps=40, step_length=5.0, share=0.01),
    border_bisection_steps=20,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(weight: Tensor, bias: Tensor) -> nn.Module:
    """Logits that are linear in the pixels."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)


@pytest.mark.parametrize("norm", NORMS)
def test_search_of_linear_network_reaches_clevers_bound(norm: str) -> None:
    """Two classes, pixels far from 0 and 1: the distance to the boundary is margin / dual norm, as CLEVER's bound."""
    weight = torch.stack([torch.randn(16, generator=seeded()), torch.zeros(16)])
    network, x = linear(weight, torch.zeros(2)), 0.45 + 0.1 * torch.rand(6, 1, 4, 4, generator=seeded(1))
    network[1].bias.data[1] = network(x)[:, 0].mean()
    y = network(x).argmax(dim=1)
    exact = clever(network, x, y, norm, 9.0, 3, 2, 0.1, seeded()).untargeted
    found = find_minimal_perturbation(network, x, y, [norm], CONFIG)[norm]
    assert (found.distance >= exact * 0.9999).all()
    assert (found.distance <= exact * 1.02).all()
    assert misclassified(network, found.images, y).all()
    assert torch.allclose(lp_norm(found.images - x, norm), found.distance)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert set(found.attack) <= {"ddn", f"pgd_{norm}"}


def test_search_without_adversarial_images_returns_x() -> None:
    """The prediction would change only outside [0, 1]."""
    weight, bias = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, -2.5])
    x = torch.rand(2, 1, 1, 2, generator=seeded())
    found = find_minimal_perturbation(linear(weight, bias), x, torch.tensor([0, 0]), NORMS, CONFIG)
    for norm in NORMS:
        assert found[norm].distance.tolist() == [math.inf, math.inf]
        assert found[norm].attack == ["", ""]
        assert torch.equal(found[norm].images, x)


def test_bisect_radius_halves_the_range_of_success() -> None:
    """An attack that moves to the right end of its ball: from 0.5 the boundary at 0.7 is 0.2 away."""
    network = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -0.7]))
    x, radii = torch.tensor([[[[0.5]]]]), []

    def attack(radius: Tensor, on_step: ImageCallback) -> None:
        radii.append(radius.item())
        on_step(1, x + radius.reshape(1, 1, 1, 1))

    images = bisect_radius(network, x, torch.tensor([0]), "linf", attack, torch.tensor([0.4]), 6)
    success_first, failure_first = [0.2, 0.1, 0.15, 0.175], [0.2, 0.3, 0.25, 0.225]
    assert radii[:4] == pytest.approx(failure_first) or radii[:4] == pytest.approx(success_first)
    assert 0.7 <= images.item() <= 0.7 + 0.4 / 2**5


def test_every_attack_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches, each with DDN and PGD under two norms with three radii."""
    monkeypatch.setattr("cam_adv.studies.min_perturbation.search.BATCH", 4)
    config = CONFIG.model_copy(update={"pgd": CONFIG.pgd.model_copy(update={"bisection_steps": 3, "steps": 2})})
    weight = torch.randn(2, 4, generator=seeded())
    x, calls = torch.rand(5, 1, 2, 2, generator=seeded(1)), []
    y = torch.zeros(5, dtype=torch.int64)
    find_minimal_perturbation(linear(weight, torch.zeros(2)), x, y, ["l2", "linf"], config, lambda: calls.append(1))
    assert len(calls) == number_of_attacks(5, 2, config) == 2 * (1 + 2 * 3)
