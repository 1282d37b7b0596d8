"""Minimal-norm attacks: on a network whose decision boundary is known, and bounded by a strength."""

import pytest
import torch
from conftest import compose
from torch import Tensor, nn

import cam_adv.attacks.foolbox_attacks
from cam_adv.attacks.base import Attack, AttackModels, BoundAttack
from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError
from cam_adv.models.lp_balls import lp_norm

pytestmark = pytest.mark.slow

LEVELS = (0.45, 0.4, 0.3)


class MeanThreshold(nn.Module):
    """Predicts 1 where the mean pixel is above a half, else 0; the logits differ by 8·(mean − ½)."""

    def forward(self, images: Tensor) -> Tensor:
        margin = 8 * (images.flatten(1).mean(dim=1) - 0.5)
        return torch.stack([-margin / 2, margin / 2], dim=1)


def shipped(attack: str, *overrides: str) -> Attack:
    return settings_from(compose([f"attack={attack}", *overrides])).attack


def flat_images() -> Tensor:
    """Gray images of 16 pixels: the boundary at ½ is 4·(½ − level) away under L2, ½ − level under L∞."""
    return torch.tensor(LEVELS).reshape(3, 1, 1, 1).expand(3, 1, 4, 4).contiguous()


def adversarial_images(attack: Attack) -> Tensor:
    y = torch.zeros(3, dtype=torch.long)
    return BoundAttack(attack, AttackModels(MeanThreshold()))(flat_images(), y, y).x_adv


@pytest.mark.parametrize(
    ("attack", "norm", "low", "high"),
    [
        ("ddn", "l2", 1, 1.07),  # its radius shrinks by 5% in a step
        ("deepfool", "l2", 1, 1.03),  # 2% beyond the boundary
        ("deepfool", "linf", 1, 1.03),
        ("carlini_wagner", "l2", 1, 1.1),
    ],
)
def test_distance_is_that_of_the_boundary(attack: str, norm: str, low: float, high: float) -> None:
    x_adv = adversarial_images(shipped(attack, f"attack.norm={norm}"))
    assert MeanThreshold()(x_adv).argmax(dim=1).tolist() == [1, 1, 1]
    boundary = (0.5 - torch.tensor(LEVELS)) * (4 if norm == "l2" else 1)
    share = (x_adv - flat_images()).flatten(1).norm(dim=1, p=2 if norm == "l2" else torch.inf) / boundary
    assert (share >= low).all(), share
    assert (share <= high).all(), share


@pytest.mark.parametrize("attack", ["ddn", "deepfool", "carlini_wagner"])
def test_strength_projects_images_that_are_further_away(attack: str) -> None:
    """The boundaries are 0.2, 0.4 and 0.8 away: only the first is in a ball of 0.3."""
    x_adv = adversarial_images(shipped(attack, "attack.strength=0.3"))
    distance = lp_norm(x_adv - flat_images(), "l2")
    assert distance[0].item() < 0.22
    torch.testing.assert_close(distance[1:], torch.tensor([0.3, 0.3]))
    assert MeanThreshold()(x_adv).argmax(dim=1).tolist() == [1, 0, 0]


def test_zero_strength_returns_input() -> None:
    assert torch.equal(adversarial_images(shipped("ddn", "attack.strength=0")), flat_images())


def test_carlini_wagner_without_adversarial_images_returns_x() -> None:
    """Two steps reach no boundary, and Foolbox would return black images."""
    attack = shipped("carlini_wagner", "attack.steps=2", "attack.searches=1")
    assert torch.equal(adversarial_images(attack), flat_images())


def test_result_has_x_and_x_adv_as_its_trace() -> None:
    attack = shipped("ddn")
    y = torch.zeros(3, dtype=torch.long)
    calls: list[tuple[int, int]] = []
    bound = BoundAttack(attack, AttackModels(MeanThreshold()))
    result = bound(flat_images(), y, y, lambda step, active: calls.append((step, active)))
    assert calls == [(attack.steps_per_init, 3)]
    losses = [
        nn.functional.cross_entropy(MeanThreshold()(images), y, reduction="none")
        for images in (flat_images(), result.x_adv)
    ]
    assert torch.allclose(result.terms["J1 victim"], torch.stack(losses, dim=1), atol=1e-6)


def test_carlini_wagner_steps_count_each_search() -> None:
    assert shipped("carlini_wagner", "attack.steps=30", "attack.searches=4").steps_per_init == 120


@pytest.mark.parametrize("attack", ["deepfool", "carlini_wagner"])
def test_foolbox_attack_without_foolbox_raises(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cam_adv.attacks.foolbox_attacks, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"attack={attack} needs the package foolbox") as refusal:
        shipped(attack)
    assert "cam-adv[foolbox]" in refusal.value.remedy


def test_ddn_needs_no_foolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cam_adv.attacks.foolbox_attacks, "find_spec", lambda name: None)
    assert shipped("ddn").name == "ddn"
