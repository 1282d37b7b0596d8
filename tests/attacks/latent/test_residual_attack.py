"""The latent attack with a residual on the pixels: its ball, its course, and its starts."""

from typing import Any

import pytest
import torch
from random_networks import TARGET, Y, bind, images, make_attack, real_images
from torch import Tensor, nn

from cam_adv.attacks.base import BoundAttack
from cam_adv.attacks.latent.attack import Prepared
from cam_adv.attacks.result import AttackResult
from cam_adv.models.generators.base import Generator


def residual(eps: float, norm: str = "l2", scale: float = 0.02) -> dict[str, Any]:
    return {"eps": eps, "norm": norm, "scale": scale}


def generator_of(bound: BoundAttack) -> Generator:
    assert bound.models.generator is not None
    return bound.models.generator.eval()


def size(offset: Tensor, norm: str) -> Tensor:
    """The norm of each row."""
    return offset.flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.05), ("l2", 1.0), ("linf", 0.002), ("linf", 0.1)])
def test_image_is_no_further_from_the_generated_one_than_the_residual(norm: str, eps: float, keep_best: bool) -> None:
    bound = bind(make_attack(residual=residual(eps, norm), keep_best=keep_best))
    result, generator = bound(images(), Y, TARGET), generator_of(bound)
    assert result.residual_path is not None
    distance = size(result.x_adv - generator.decode(result.z), norm)
    assert (distance <= eps * (1 + 1e-9)).all()
    assert (distance > 0).any()
    assert torch.allclose(distance, size(result.residual_path[:, -1], norm), atol=1e-12) or eps == 0.1
    assert (size(result.residual_path.flatten(0, 1), norm) <= eps * (1 + 1e-9)).all()
    assert result.residual_path[:, 0].abs().max() == 0 or result.steps.min() == 0
    # Twelve steps of 0.2·0.02 = 0.004 in each pixel reach the surface of the small balls.
    if eps < 0.1 and not keep_best:
        assert torch.allclose(distance, torch.full((5,), eps, dtype=torch.float64))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_last_frame_of_path_and_residuals_is_the_result(norm: str) -> None:
    bound = bind(make_attack(residual=residual(0.05, norm)))
    result, generator = bound(images(), Y, TARGET), generator_of(bound)
    assert result.residual_path is not None
    assert result.residual_path.shape == (5, 4, 1, 28, 28)
    last = (generator.decode(result.path[:, -1]) + result.residual_path[:, -1]).clamp(0, 1)
    assert torch.allclose(result.x_adv, last, atol=1e-12)
    assert 0 <= result.x_adv.min() <= result.x_adv.max() <= 1


def test_terms_are_those_of_the_image_with_its_residual() -> None:
    bound = bind(make_attack(residual=residual(1.0), keep_best=False))
    result, generator = bound(images(), Y, TARGET), generator_of(bound)
    victim = bound.models.victim.eval()
    with_residual, without = (
        nn.functional.cross_entropy(victim(x), Y, reduction="none")
        for x in (result.x_adv, generator.decode(result.z))
    )
    assert torch.allclose(result.terms["J1 victim"][:, -1], with_residual, atol=1e-9)
    assert ((with_residual - without).abs() > 1e-6).all()


def test_without_residual_the_image_is_the_generated_one() -> None:
    bound = bind(make_attack(residual=residual(0.0)))
    result = bound(images(), Y, TARGET)
    assert result.residual_path is None
    assert "residual_path" not in result.tensors()
    assert torch.equal(result.x_adv, generator_of(bound).decode(result.z))


def test_type1_latent_is_type1_without_residual() -> None:
    """The norm and the scale of a residual of size 0 don't count."""
    first = bind(make_attack("type1_latent"))(images(), Y, TARGET)
    second = bind(make_attack("type1", residual=residual(0.0, "linf", 3.0)))(images(), Y, TARGET)
    assert first.tensors().keys() == second.tensors().keys()
    assert all(torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items())


def test_tiny_residual_hardly_changes_the_attack() -> None:
    """Its gradient does not leak into the codes."""
    none = bind(make_attack("type1_latent"))(images(), Y, TARGET)
    tiny = bind(make_attack(residual=residual(1e-9)))(images(), Y, TARGET)
    assert torch.allclose(none.z, tiny.z, atol=1e-6)
    assert torch.allclose(none.x_adv, tiny.x_adv, atol=1e-6)


def test_residual_lowers_the_objective() -> None:
    """What one sample can reach with code and residual is at most what it reaches with its code alone."""

    def objective(result: AttackResult) -> Tensor:
        return 8 * result.terms["surrogates"][:, -1] + 20 * result.terms["J1 victim"][:, -1]

    changes: dict[str, Any] = {
        "steps": 60,
        "keep_best": False,
        "views": {"noise": 0.0, "shift": 0},
        "proxies_per_step": 3,
    }
    penalty = make_attack().penalty | {"start": 20.0, "rate": 0.0, "proportional_gain": 0.0}
    alone, both = (
        bind(make_attack(residual=residual(eps), penalty=penalty, **changes))(images(), Y, TARGET)
        for eps in (0.0, 2.0)
    )
    assert (objective(both) < objective(alone)).all()


class TestStartCodes:
    def test_mean_start_is_the_code_of_the_image(self) -> None:
        for name in ("type1", "type1_latent", "tang2018", "type2_latent"):
            result = bind(make_attack(name))(images(), Y, TARGET)
            assert torch.equal(result.z_start, result.z0), name

    def test_real_image_start_is_the_code_of_an_image_of_the_perceived_class(self) -> None:
        bound = bind(make_attack(init=["real_image"], init_candidates=3, residual=residual(0.05)))
        result = bound(images(), Y, TARGET)
        with torch.no_grad():
            codes = generator_of(bound).encode(real_images().images).mean
        distance = (result.z_start[:, None] - codes[None]).norm(dim=2)
        assert distance.min(dim=1).values.max() < 1e-12
        assert torch.equal(real_images().labels[distance.argmin(dim=1)], TARGET)
        assert torch.equal(result.path[:, 0], result.z_start)

    @pytest.mark.parametrize("init", [["mean", "real_image"], ["real_image", "mean", "real_image"]])
    def test_start_of_a_later_try_is_kept_where_that_try_is_better(self, init: list[str]) -> None:
        attack = make_attack(init=init, init_candidates=3, keep_best=False)
        bound = bind(attack, seed=1)
        result = bound(images(), Y, TARGET)
        assert isinstance(bound.prepared, Prepared)
        initializer = bound.prepared.initializer
        assert initializer is not None
        assert len(set(result.start.tolist())) > 1
        for row, number in enumerate(result.start.tolist()):
            expected = result.z0[row : row + 1]
            if init[number] == "real_image":
                one = slice(row, row + 1)
                rank = init[:number].count("real_image")
                least = attack.restart_below_prob
                expected = initializer.start(rank, images()[one], expected, Y[one], TARGET[one], least)
            assert torch.allclose(result.z_start[row], expected[0], atol=1e-12)
            assert torch.allclose(result.path[row, 0], expected[0], atol=1e-12)

    def test_start_in_a_small_ball_is_recorded_before_it_is_projected(self) -> None:
        bound = bind(make_attack(init=["real_image"], strength=1e-3))
        result = bound(images(), Y, TARGET)
        assert ((result.z_start - result.z0).norm(dim=1) > 1e-3).all()
        assert ((result.path - result.z0[:, None]).norm(dim=2) <= 1e-3 * (1 + 1e-9)).all()
