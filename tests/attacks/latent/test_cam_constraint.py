"""`attack=type1_cam`: the additional term of the objective, and that it is absent with weight 0."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import CommandResult
from torch import nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.latent.cam_constraint import CAMConstraint
from cam_adv.attacks.latent.objective import LossWeights, Terms
from cam_adv.attacks.latent.walk import candidate_score
from cam_adv.attributions.class_maps import cam
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.errors import UserError
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.victims import GapCNN
from cam_adv.studies.explanation_reliability.instability import map_dissimilarity

torch.manual_seed(4)
VICTIM = GapCNN(1, 3, (2, 4, 6)).eval().requires_grad_(False)
GENERATOR = SVAE(1, 3, (16, 16), 4, width=2, hidden=8).eval().requires_grad_(False)
X = torch.rand(5, 1, 16, 16)
Y, TARGET = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 2, 0, 2, 0])


def make_attack(cam_weight: float) -> LatentAttack:
    """Without surrogates, from the posterior mean, to the last code."""
    return LatentAttack(
        name="type1_cam",
        kind="type1",
        confidence=0.4,
        margin=0.1,
        steps=30,
        learning_rate=0.1,
        trace_points=4,
        batch_size=5,
        init=["mean"],
        init_candidates=1,
        init_distance_weight=4.0,
        residual={"eps": 0.0, "norm": "l2", "scale": 1.0},
        keep_best=False,
        proxies_per_step=1,
        early_stop_prob=0.99,
        restart_below_prob=0.9,
        weights={"f2": 1.0, "surrogates": 0.0, "discriminator": 0.1, "norm": 0.0, "cam": cam_weight},
        latent_noise={"samples": 4, "spread": 1.0},
        views={"noise": 0.1, "shift": 1},
        penalty={
            "_target_": "cam_adv.attacks.latent.penalty.DualAscent",
            "start": 0.5,
            "rate": 0.02,
            "proportional_gain": 0.5,
            "confidence": 0.4,
            "target_margin": 0.4,
            "cap": 20.0,
        },
    )


def test_cam_constraint_of_an_unchanged_image_is_zero() -> None:
    logits, change = CAMConstraint.of(VICTIM, X, Y).logits_and_change(VICTIM, X, Y)
    assert torch.allclose(change, torch.zeros(5), atol=1e-5)
    assert torch.allclose(logits, VICTIM(X), atol=1e-6)


def test_cam_constraint_of_chosen_rows_is_the_studys_map_dissimilarity() -> None:
    other, chosen = X.flip(3).requires_grad_(), torch.tensor([1, 4])
    constraint = CAMConstraint.of(VICTIM, X, Y).rows(chosen)
    _, change = constraint.logits_and_change(VICTIM, other[chosen], Y[chosen])
    layer_target = LayerTarget.with_exact_cam(VICTIM, X)
    before, after = (cam(layer_target, images.detach(), Y, TARGET) for images in (X, other))
    assert torch.allclose(change, map_dissimilarity(before, after)[chosen], atol=1e-5)
    (gradient,) = torch.autograd.grad(change.sum(), other)
    assert gradient[chosen].abs().sum() > 0


@pytest.mark.parametrize("weight", [0.0, 20.0])
def test_latent_attack_with_cam_weight_reduces_the_change_of_the_map(weight: float) -> None:
    result = BoundAttack(make_attack(weight), AttackModels(VICTIM, GENERATOR))(X, Y, TARGET)
    assert ("cam" in result.terms) == (weight > 0)
    if weight:
        change = result.terms["cam"]
        assert change[:, -1].mean() < change[:, 0].mean()
        assert (change[:, -1] >= 0).all()


def test_candidate_score_prefers_the_smaller_change_of_the_map() -> None:
    zero, log_odds = torch.zeros(3), torch.tensor([9.0, 9.0, -9.0])
    change = torch.tensor([0.5, 0.1, 0.0])
    terms = Terms(log_odds, zero, zero, zero, zero, zero[:, None], cam=change)
    weights = LossWeights(f2=1, surrogates=1, discriminator=1, norm=1, cam=4)
    assert candidate_score(terms, 0.9, 0.0, weights).argsort().tolist() == [2, 0, 1]
    chosen = terms.rows(log_odds > 0).cam
    assert chosen is not None
    assert torch.equal(chosen, change[:2])
    assert terms.total(weights, zero).tolist() == pytest.approx([2.0, 0.4, 0.0])


def test_latent_attack_with_cam_weight_refuses_a_victim_without_exact_cam() -> None:
    without = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    with pytest.raises(UserError, match="CAM is not defined"):
        BoundAttack(make_attack(1.0), AttackModels(without, GENERATOR))(X, Y, TARGET)


def test_command_with_cam_weight_refuses_such_a_victim_before_training(
    command: Callable[..., CommandResult], tiny: list[str]
) -> None:
    overrides = [override for override in tiny if "widths" not in override]
    answer = command(*overrides, "attack=type1_cam", "model/victim=lenet")
    assert answer.code == 2
    assert "CAM is not defined" in answer.err
    assert not Path("outputs/models").exists()
