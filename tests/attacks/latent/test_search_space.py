"""The search space: codes and residuals, their balls, and the images that they stand for."""

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from random_networks import networks
from torch import Tensor

from cam_adv.attacks.latent.search_space import ResidualSettings, SearchSpace, project

SHAPE = (1, 28, 28)


def space(eps: float, norm: Any = "l2", scale: float = 0.02, strength: float | None = None) -> SearchSpace:
    """Of codes of five values and the images of the random networks."""
    return SearchSpace(5, SHAPE, strength, ResidualSettings(eps=eps, norm=norm, scale=scale))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def joined(codes: Tensor, residuals: Tensor, scale: float) -> Tensor:
    """The variables of these codes and residuals."""
    return torch.cat([codes, residuals.flatten(1) / scale], dim=1)


def size(residuals: Tensor, norm: str) -> Tensor:
    """The norm of each residual."""
    return residuals.flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)


def test_start_has_these_codes_and_a_residual_of_zero() -> None:
    codes, searched = draw(3, 5), space(1.0)
    variables = searched.start(codes)
    assert variables.shape == (3, 5 + 784)
    assert torch.equal(searched.codes(variables), codes)
    residuals = searched.residuals(variables)
    assert residuals is not None
    assert torch.equal(residuals, torch.zeros(3, *SHAPE, dtype=torch.float64))


def test_codes_and_residuals_are_the_parts_of_variables() -> None:
    codes, residuals, searched = draw(3, 5), draw(3, *SHAPE, seed=1), space(1.0, scale=0.25)
    variables = joined(codes, residuals, 0.25)
    found = searched.residuals(variables)
    assert found is not None
    assert torch.equal(searched.codes(variables), codes)
    assert torch.allclose(found, residuals, atol=1e-15)


def test_codes_and_residuals_of_a_path_are_those_of_its_frames() -> None:
    path, searched = draw(3, 4, 5 + 784), space(1.0)
    residuals = searched.residuals(path)
    assert residuals is not None
    for frame in range(4):
        own = searched.residuals(path[:, frame])
        assert own is not None
        assert torch.equal(residuals[:, frame], own)
        assert torch.equal(searched.codes(path)[:, frame], searched.codes(path[:, frame]))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@given(
    seed=st.integers(0, 2**31), eps=st.floats(1e-3, 5), scale=st.floats(1e-3, 2), strength=st.floats(0, 5),
    size_of_residual=st.sampled_from([1e-4, 0.1, 10.0]),
)  # fmt: skip
@settings(max_examples=40, deadline=None, derandomize=True)
def test_project_takes_each_part_to_the_nearest_point_of_its_ball(
    norm: str, seed: int, eps: float, scale: float, strength: float, size_of_residual: float
) -> None:
    """What is in the ball stays; what is not is moved to its surface: along the ray under L2, pixel by pixel under
    L∞."""
    searched, z0 = space(eps, norm, scale, strength), draw(4, 5, seed=seed + 1)
    codes, residuals = z0 + 3 * draw(4, 5, seed=seed), size_of_residual * draw(4, *SHAPE, seed=seed + 2)
    projected = searched.project(joined(codes, residuals, scale), z0)
    found = searched.residuals(projected)
    assert found is not None
    lengths = size(residuals, norm)
    nearest = (
        residuals.clamp(-eps, eps)
        if norm == "linf"
        else residuals * (eps / lengths).clamp(max=1)[:, None, None, None]
    )
    assert torch.allclose(found, nearest, atol=1e-12, rtol=1e-9)
    assert (size(found, norm) <= eps * (1 + 1e-9)).all()
    assert torch.allclose(size(found, norm), lengths.clamp(max=eps))
    distance, moved = (codes - z0).norm(dim=1), searched.codes(projected) - z0
    assert torch.allclose(moved, (codes - z0) * (strength / distance).clamp(max=1)[:, None], atol=1e-12)
    assert torch.allclose(searched.project(projected, z0), projected, atol=1e-12)


def test_project_of_codes_leaves_residuals_and_the_other_way_round() -> None:
    codes, residuals, z0 = 100 * draw(2, 5), 0.001 * draw(2, *SHAPE), torch.zeros(2, 5, dtype=torch.float64)
    variables = joined(codes, residuals, 0.02)
    bounded = space(1.0, strength=1.0).project(variables, z0)
    assert torch.equal(bounded[:, 5:], variables[:, 5:])
    assert torch.allclose(bounded[:, :5].norm(dim=1), torch.ones(2, dtype=torch.float64))
    unbounded = space(1e-9).project(variables, z0)
    assert torch.equal(unbounded[:, :5], variables[:, :5])


def test_without_residual_the_variables_are_the_codes_and_the_image_is_the_generated_one() -> None:
    codes, z0, searched = draw(3, 5), draw(3, 5, seed=1), space(0.0, strength=0.7)
    generator = networks()[1].eval()
    assert searched.start(codes) is codes
    assert torch.equal(searched.codes(codes), codes)
    assert searched.residuals(codes) is None
    assert torch.equal(searched.images(generator, codes), generator.decode(codes))
    assert torch.equal(searched.project(codes, z0), project(codes, z0, 0.7))


@given(seed=st.integers(0, 2**31), size_of_residual=st.sampled_from([0.0, 0.01, 0.4, 5.0]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_images_are_generated_ones_plus_residual_in_the_unit_range(seed: int, size_of_residual: float) -> None:
    codes, residuals = draw(3, 5, seed=seed), size_of_residual * draw(3, *SHAPE, seed=seed + 1)
    generator = networks()[1].eval()
    found = space(1.0).images(generator, joined(codes, residuals, 0.02))
    assert 0 <= found.min() <= found.max() <= 1
    inside = (generator.decode(codes) + residuals).detach()
    assert torch.allclose(found, torch.minimum(torch.maximum(inside, torch.zeros(1)), torch.ones(1)), atol=1e-12)
    assert size_of_residual < 5 or ((found == 0).any() and (found == 1).any())


def test_project_by_hand() -> None:
    """(3, 4) is 5 away from 0: radius 1 takes it to (0.6, 0.8), radius 6 leaves it."""
    codes, origin = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    assert project(codes, origin, 1.0).tolist() == [pytest.approx([0.6, 0.8])]
    assert project(codes, origin, 6.0).tolist() == [[3.0, 4.0]]
    assert project(codes, origin, None).tolist() == [[3.0, 4.0]]
    assert project(origin, origin, 0.0).tolist() == [[0.0, 0.0]]
