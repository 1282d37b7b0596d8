"""Balls of the norms: by hand, against naive references and against known distributions."""

from typing import get_args

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from cam_adv.models.lp_balls import (
    DUAL,
    Norm,
    into_ball,
    lp_norm,
    per_image,
    positive_length,
    project_offset,
    steepest_direction,
    steepest_sparse_step,
    uniform_in_ball,
    with_offset,
)

NORMS = get_args(Norm)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=seeded(seed))


def test_lp_norm_by_hand() -> None:
    offset = torch.tensor([[[3.0, 0.0], [0.0, -4.0]]])
    assert [lp_norm(offset, norm).item() for norm in NORMS] == [7, 5, 4]


@pytest.mark.parametrize("norm", NORMS)
def test_lp_norm_is_numpys(norm: Norm) -> None:
    offset = draws(4, 1, 3, 5)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    expected = [np.linalg.norm(row.flatten().numpy(), order) for row in offset]
    assert lp_norm(offset, norm).tolist() == pytest.approx(expected, rel=1e-5)


def test_unknown_norm_raises() -> None:
    for call in (
        lambda: lp_norm(torch.ones(1, 2), "l3"),  # type: ignore[arg-type]
        lambda: project_offset(torch.ones(1, 2), 1.0, "l3"),  # type: ignore[arg-type]
        lambda: uniform_in_ball(1, 2, "l3", seeded()),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="l3 is no norm of these balls: l1, l2, linf"):
            call()


def test_per_image_broadcasts_numbers_and_rows() -> None:
    x = torch.ones(2, 1, 3, 3)
    assert per_image(0.5, x).shape == (1, 1, 1, 1)
    assert (per_image(torch.tensor([2.0, 3.0]), x) * x)[:, 0, 0, 0].tolist() == [2, 3]


def test_positive_length_is_never_zero() -> None:
    length = positive_length(torch.tensor([[[[3.0, 4.0]]], [[[0.0, 0.0]]]]), "l2")
    assert length.shape == (2, 1, 1, 1)
    assert length.flatten().tolist() == pytest.approx([5, 1e-12])


@pytest.mark.parametrize("norm", NORMS)
def test_dual_norm_is_the_largest_product_with_a_unit_vector(norm: Norm) -> None:
    gradient = torch.tensor([[3.0, -4.0, 1.0]])
    best = {
        "l1": torch.tensor([0.0, -1.0, 0.0]),
        "l2": gradient[0] / gradient.norm(),
        "linf": torch.tensor([1.0, -1.0, 1.0]),
    }[norm]
    assert lp_norm(best[None], norm).item() == pytest.approx(1)
    assert lp_norm(gradient, DUAL[norm]).item() == pytest.approx((gradient[0] @ best).item())


@pytest.mark.parametrize("norm", NORMS)
def test_uniform_in_ball_is_uniform_by_volume(norm: Norm) -> None:
    """The share of volume within radius t is t^d; E x_i² of the unit balls in 5 dimensions by hand."""
    points = uniform_in_ball(20_000, 5, norm, seeded())
    assert stats.kstest(lp_norm(points, norm), lambda radius: radius**5).pvalue > 0.01
    square = {"l1": 2 / (6 * 7), "l2": 1 / 7, "linf": 1 / 3}[norm]
    assert torch.allclose(points.square().mean(dim=0), torch.tensor(square), rtol=0.05)
    assert points.mean(dim=0).abs().max() < 0.02
    assert torch.corrcoef(points.T).fill_diagonal_(0).abs().max() < 0.03


class TestProjectOffset:
    @pytest.mark.parametrize(
        ("norm", "expected"),
        [
            ("l1", [[2, 0], [1.5, -0.5], [0.5, -0.5]]),
            ("l2", [[6 / 10**0.5, 2 / 10**0.5], [4 / 5**0.5, -2 / 5**0.5], [0.5, -0.5]]),
            ("linf", [[2, 1], [2, -1], [0.5, -0.5]]),
        ],
    )
    def test_radius_two_by_hand(self, norm: Norm, expected: list[list[float]]) -> None:
        offset = torch.tensor([[3.0, 1.0], [2.0, -1.0], [0.5, -0.5]])
        for radius in (2.0, torch.full((3,), 2.0)):
            torch.testing.assert_close(project_offset(offset, radius, norm), torch.tensor(expected))

    @pytest.mark.parametrize("norm", NORMS)
    def test_result_is_the_nearest_point_of_the_ball(self, norm: Norm) -> None:
        """Against a general optimiser, which minimises the squared distance under the constraint of the norm."""
        offset = draws(3, 4) * 2
        radius = torch.tensor([0.5, 1.0, 100.0])
        order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
        for row in range(3):
            goal = offset[row].double().numpy()
            # The positive and the negative part of each coordinate, so that the norm is smooth.
            constraint = {
                "l1": lambda parts, r=row: float(radius[r]) - parts.sum(),
                "l2": lambda parts, r=row: float(radius[r]) ** 2 - np.square(parts[:4] - parts[4:]).sum(),
                "linf": lambda parts, r=row: float(radius[r]) - parts,
            }[norm]
            found = optimize.minimize(
                lambda parts, goal=goal: np.square(parts[:4] - parts[4:] - goal).sum(),
                np.full(8, 0.01),
                bounds=[(0, None)] * 8,
                constraints={"type": "ineq", "fun": constraint},
                options={"ftol": 1e-12, "maxiter": 1000},
            )
            nearest = found.x[:4] - found.x[4:]
            ours = project_offset(offset[row : row + 1], radius[row : row + 1], norm)[0]
            assert np.linalg.norm(ours.numpy(), order) <= float(radius[row]) * (1 + 1e-5)
            assert ours.tolist() == pytest.approx(nearest.tolist(), abs=2e-3)

    @pytest.mark.parametrize("norm", NORMS)
    def test_offset_inside_the_ball_is_unchanged(self, norm: Norm) -> None:
        offset = draws(5, 1, 3, 3)
        assert torch.equal(project_offset(offset, lp_norm(offset, norm) * 1.01, norm), offset)

    @pytest.mark.parametrize("norm", NORMS)
    def test_offset_outside_the_ball_ends_on_its_surface(self, norm: Norm) -> None:
        offset = draws(5, 1, 6, 6)
        radius = lp_norm(offset, norm) * torch.tensor([0.9, 0.5, 0.2, 0.05, 0.01])
        torch.testing.assert_close(lp_norm(project_offset(offset, radius, norm), norm), radius)

    @pytest.mark.parametrize("norm", NORMS)
    def test_zero_radius_returns_zero(self, norm: Norm) -> None:
        assert project_offset(draws(3, 1, 4, 4), 0.0, norm).abs().max() == 0

    @pytest.mark.parametrize("norm", NORMS)
    def test_zero_offset_is_unchanged(self, norm: Norm) -> None:
        assert torch.equal(project_offset(torch.zeros(2, 1, 3, 3), 0.5, norm), torch.zeros(2, 1, 3, 3))


class TestIntoBall:
    @pytest.mark.parametrize("norm", NORMS)
    def test_result_is_in_ball_and_range(self, norm: Norm) -> None:
        x, images = torch.rand(4, 1, 5, 5, generator=seeded()), draws(4, 1, 5, 5, seed=1)
        radius = torch.tensor([0.0, 0.3, 1.0, 50.0])
        inside = into_ball(images, x, radius, norm)
        assert inside.min() >= 0
        assert inside.max() <= 1
        assert (lp_norm(inside - x, norm) <= radius * (1 + 1e-5) + 1e-6).all()
        assert torch.equal(inside[0], x[0])
        if norm != "l1":
            expected = (x + project_offset(images - x, radius, norm)).clamp(0, 1)
        else:
            expected = x + project_offset(images.clamp(0, 1) - x, radius, norm)
        torch.testing.assert_close(inside, expected)

    def test_l1_clips_first(self) -> None:
        """White pixel 0 can't change, so that pixel 1 gets the whole radius of 0.3."""
        x, images = torch.tensor([[[[1.0, 0.2]]]]), torch.tensor([[[[1.5, 0.7]]]])
        torch.testing.assert_close(into_ball(images, x, 0.3, "l1"), torch.tensor([[[[1.0, 0.5]]]]))

    @pytest.mark.parametrize("norm", NORMS)
    def test_with_offset_is_into_ball_of_the_sum(self, norm: Norm) -> None:
        x, offset = torch.rand(4, 1, 5, 5, generator=seeded()), draws(4, 1, 5, 5, seed=1)
        torch.testing.assert_close(with_offset(x, offset, 0.7, norm), into_ball(x + offset, x, 0.7, norm))


class TestSteepestDirection:
    @pytest.mark.parametrize("norm", ["l2", "linf"])
    def test_product_with_the_gradient_is_its_dual_norm(self, norm: Norm) -> None:
        """By Hölder's inequality no direction of norm 1 has a larger product."""
        gradient = draws(4, 1, 3, 3)
        direction = steepest_direction(gradient, norm)
        torch.testing.assert_close(lp_norm(direction, norm), torch.ones(4))
        torch.testing.assert_close((direction * gradient).flatten(1).sum(dim=1), lp_norm(gradient, DUAL[norm]))

    @pytest.mark.parametrize("norm", ["l2", "linf"])
    def test_zero_and_non_finite_gradients_change_nothing(self, norm: Norm) -> None:
        gradient = torch.tensor([[[[0.0, 0.0]]], [[[torch.nan, 2.0]]], [[[torch.inf, -torch.inf]]]])
        direction = steepest_direction(gradient, norm)
        assert direction.flatten(1).tolist() == [[0, 0], [0, 1], [0, 0]]


class TestSteepestSparseStep:
    @staticmethod
    def reference(gradient: Tensor, image: Tensor, length: float, share: float) -> Tensor:
        """One image, pixel by pixel."""
        slopes, pixels = gradient.flatten().tolist(), image.flatten().tolist()
        movable = [
            number
            for number, (slope, pixel) in enumerate(zip(slopes, pixels, strict=True))
            if (slope > 0 and pixel < 1) or (slope < 0 and pixel > 0)
        ]
        chosen = sorted(movable, key=lambda number: -abs(slopes[number]))[: max(1, round(share * len(pixels)))]
        step = torch.zeros(len(pixels))
        for number in chosen:
            step[number] = length / len(chosen) * (1 if slopes[number] > 0 else -1)
        return step.reshape(image.shape)

    @pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 1.0])
    def test_step_is_the_reference_pixel_by_pixel(self, share: float) -> None:
        gradient, length = draws(6, 1, 7, 7), torch.tensor([0.0, 0.1, 0.5, 1.0, 2.0, 3.0])
        images = (2 * torch.rand(6, 1, 7, 7, generator=seeded(1)) - 0.5).clamp(0, 1)
        step = steepest_sparse_step(gradient, images, length, share)
        expected = [self.reference(*row, share) for row in zip(gradient, images, length.tolist(), strict=True)]
        torch.testing.assert_close(step, torch.stack(expected))
        torch.testing.assert_close(lp_norm(step, "l1"), length)

    def test_step_has_the_largest_product_of_its_kind(self) -> None:
        """With one changed pixel it reaches the dual norm, as the steepest direction under L1 does."""
        gradient, images = draws(4, 1, 3, 3), torch.full((4, 1, 3, 3), 0.5)
        step = steepest_sparse_step(gradient, images, 1.0, 0.01)
        torch.testing.assert_close((step * gradient).flatten(1).sum(dim=1), lp_norm(gradient, DUAL["l1"]))

    def test_image_without_room_does_not_change(self) -> None:
        gradient = torch.tensor([[[[1.0, -1.0]]]])
        assert steepest_sparse_step(gradient, torch.tensor([[[[1.0, 0.0]]]]), 1.0, 1.0).abs().sum() == 0

    def test_zero_and_non_finite_gradients_change_nothing(self) -> None:
        gradient = torch.tensor([[[[0.0, 0.0]]], [[[torch.nan, 2.0]]], [[[torch.inf, -torch.inf]]]])
        step = steepest_sparse_step(gradient, torch.full((3, 1, 1, 2), 0.5), 1.0, 0.5)
        assert step.flatten(1).tolist() == [[0, 0], [0, 1], [0, 0]]
