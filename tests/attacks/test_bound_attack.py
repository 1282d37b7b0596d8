"""An attack together with its networks: what it checks before it attacks."""

import math

import pytest
import torch
from conftest import compose
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, AttackModels, BoundAttack
from cam_adv.config.compose import settings_from
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.svae import SVAE


def shipped(*overrides: str) -> Attack:
    return settings_from(compose(overrides)).attack


def victim() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 4))


def generator() -> SVAE:
    return SVAE(1, 4, (16, 16), latent_size=4, width=2, hidden=8)


def images() -> Tensor:
    return torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1])


def test_missing_generator_raises() -> None:
    with pytest.raises(UserError, match="type1 needs generator") as refusal:
        BoundAttack(shipped("attack=type1"), AttackModels(victim(), surrogates=[victim()]))
    assert refusal.value.remedy == "Give generator."


def test_missing_surrogates_raise() -> None:
    with pytest.raises(UserError, match="type1 needs surrogates"):
        BoundAttack(shipped("attack=type1"), AttackModels(victim(), generator()))


def test_attack_without_proxies_needs_no_surrogates() -> None:
    attack = shipped("attack=tang2018", "attack.steps=2")
    assert attack.roles == {"victim", "generator"}
    assert len(BoundAttack(attack, AttackModels(victim(), generator()))(images(), LABELS, 1 - LABELS)) == 2


def test_pixel_attack_needs_the_victim_only() -> None:
    attack = shipped("attack=pgd", "attack.steps=2")
    assert attack.roles == {"victim"}
    assert len(BoundAttack(attack, AttackModels(victim()))(images(), LABELS, LABELS)) == 2


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
@pytest.mark.parametrize("attack", ["fgsm", "tang2018"])
def test_pixels_outside_the_unit_range_raise(attack: str, bad: float) -> None:
    x = images()
    x[0, 0, 0, 0] = bad
    with pytest.raises(UserError, match=r"outside|NaN or infinite"):
        BoundAttack(shipped(f"attack={attack}"), AttackModels(victim(), generator()))(x, LABELS, LABELS)


def test_full_trace_leaves_the_original_attack_unchanged() -> None:
    bound = BoundAttack(shipped("attack=pgd", "attack.steps=7", "attack.trace_points=3"), AttackModels(victim()))
    traced = bound.with_full_trace()
    assert traced(images(), LABELS, LABELS).trace_points == 8
    assert bound(images(), LABELS, LABELS).trace_points == 3
    assert torch.equal(traced(images(), LABELS, LABELS).x_adv, bound(images(), LABELS, LABELS).x_adv)


def test_networks_are_those_that_compile() -> None:
    first, second, third = victim(), generator(), victim()
    train = LabelledImages(torch.rand(8, 1, 16, 16), torch.arange(4).repeat(2))
    bound = BoundAttack(shipped("attack=type2_latent"), AttackModels(first, second, [third], None, train))
    assert bound.networks == [first, second, third]
    assert BoundAttack(shipped("attack=pgd"), AttackModels(first)).networks == [first]
