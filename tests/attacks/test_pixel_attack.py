"""Attacks on pixels: the fields of their results, and what these must not depend on."""

import pytest
import torch
from conftest import compose
from torch import Tensor, nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.pixel import PixelAttack
from cam_adv.config.compose import settings_from

Y, TARGET = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])


def victim() -> nn.Module:
    """Random weights, in training mode on purpose."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 4))


def images() -> Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def bound_attack(attack: str, *overrides: str) -> BoundAttack:
    settings = settings_from(compose([f"attack={attack}", *overrides])).attack
    assert isinstance(settings, PixelAttack)
    return BoundAttack(settings, AttackModels(victim()), seed=3)


def test_target_is_the_final_prediction_of_the_victim() -> None:
    bound = bound_attack("pgd", "attack.strength=1")
    y = victim().eval()(images()).argmax(dim=1)
    result = bound(images(), y, target=y)
    assert torch.equal(result.target, bound.models.victim.eval()(result.x_adv).argmax(dim=1))
    assert (result.target != y).all()
    assert torch.equal(result.y, y)


def test_zero_strength_returns_input_and_y_as_target() -> None:
    bound = bound_attack("fgsm", "attack.strength=0")
    y = victim().eval()(images()).argmax(dim=1)
    result = bound(images(), y, target=y + 1)
    assert torch.equal(result.target, y)
    assert torch.equal(result.x_adv, images())


STRENGTH = {"fgsm": 0.2, "pgd": 0.2, "pgd_l1": 200, "pgd_l2": 3}


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "pgd_l1", "pgd_l2", "ddn", "deepfool"])
def test_result_of_an_image_does_not_depend_on_its_batch(attack: str) -> None:
    overrides = [f"attack.strength={STRENGTH[attack]}"] if attack in STRENGTH else []
    if attack == "pgd_l1":
        attack, overrides = "pgd", [*overrides, "attack.norm=l1"]
    bound = bound_attack(attack, *overrides)
    y = victim().eval()(images()).argmax(dim=1)
    pooled = bound(images(), y, y)
    assert (pooled.target != y).all()
    for row in range(5):
        one = slice(row, row + 1)
        alone = bound(images()[one], y[one], y[one])
        for name, value in alone.tensors().items():
            torch.testing.assert_close(value, pooled[one].tensors()[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attack", ["pgd", "ddn", "deepfool"])
def test_attack_leaves_networks_and_global_random_state_unchanged(attack: str) -> None:
    bound = bound_attack(attack)
    before = {name: value.clone() for name, value in bound.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with torch.no_grad():
        bound(images(), Y, TARGET)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in bound.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in bound.parameters())
    assert all(module.training for module in bound.modules())


def test_same_seed_gives_same_result_and_another_does_not() -> None:
    first, again = (bound_attack("pgd", "attack.steps=2")(images(), Y, TARGET) for _ in range(2))
    other = bound_attack("pgd", "attack.steps=2")
    other.seed = 4
    assert torch.equal(first.x_adv, again.x_adv)
    assert not torch.equal(first.x_adv, other(images(), Y, TARGET).x_adv)


def test_victim_with_nan_logits_is_reported_as_diverged() -> None:
    class DarkIsNaN(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.flatten(1).mean(dim=1, keepdim=True)
            return torch.where(mean < 0.3, torch.nan, mean * torch.ones(4))

    settings = settings_from(compose(["attack=fgsm", "attack.strength=0.01"])).attack
    x = torch.stack([torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 0.9)])
    result = BoundAttack(settings, AttackModels(DarkIsNaN()))(x, Y[:2], TARGET[:2])
    assert result.diverged.tolist() == [True, False]
    assert result.x_adv.isfinite().all()


class Fade(PixelAttack):
    """An attack of a user's own: two steps toward gray."""

    strength: float
    steps: int = 2

    @property
    def steps_per_init(self) -> int:
        return self.steps

    def perturb(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int, on_step: object) -> list[Tensor]:
        return [torch.lerp(x, torch.full_like(x, 0.5), self.strength * step / 2) for step in range(3)]


def test_own_attack_needs_perturb_only() -> None:
    result = BoundAttack(Fade(name="fade", strength=0.4), AttackModels(victim()))(images(), Y, TARGET)
    torch.testing.assert_close(result.x_adv, 0.6 * images() + 0.2)
    assert result.terms["J1 victim"].shape == (5, 3)
    assert result.steps.tolist() == [2] * 5
    assert result.start.tolist() == [0] * 5
