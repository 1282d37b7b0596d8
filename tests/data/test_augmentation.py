"""Affine augmentation against shifts, rotations, scalings and shears that are known exactly."""

import pytest
import torch

from cam_adv.data.augmentation import random_affine, random_brightness

NO_STRENGTHS = {"shift": 0.0, "rotation": 0.0, "scale": 0.0, "shear": 0.0}


def affine(images: torch.Tensor, draws: list[float], **strengths: float) -> torch.Tensor:
    """`random_affine` with given draws of rotation, scale, shear, horizontal and vertical shift, each in [-1, 1]."""
    given = torch.tensor(draws).unsqueeze(1).expand(5, len(images))
    return random_affine(images, given, **(NO_STRENGTHS | strengths))


IMAGE = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4) / 16


def test_random_affine_zero_strengths_returns_input() -> None:
    images = torch.rand(5, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(random_affine(images, torch.ones(5, 5), **NO_STRENGTHS), images, atol=1e-6)


@pytest.mark.parametrize(
    ("across", "down", "expected"),
    [
        # the output reads one pixel to the right and two below; outside is black
        (1, 0, [[2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0], [14, 15, 16, 0]]),
        (-1, 0, [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15]]),
        (0, 2, [[9, 10, 11, 12], [13, 14, 15, 16], [0, 0, 0, 0], [0, 0, 0, 0]]),
        (1, -2, [[0, 0, 0, 0], [0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0]]),
    ],
)
def test_random_affine_shift_moves_by_whole_pixels(across: int, down: int, expected: list[list[int]]) -> None:
    shifted = affine(IMAGE, [0, 0, 0, across / 2, down / 2], shift=2.0)
    assert torch.allclose(shifted[0, 0] * 16, torch.tensor(expected, dtype=torch.float), atol=1e-4)


def test_random_affine_padding_border_repeats_the_nearest_pixel() -> None:
    draws = torch.tensor([0.0, 0.0, 0.0, 1.0, -1.0]).unsqueeze(1)
    shifted = random_affine(IMAGE, draws, **(NO_STRENGTHS | {"shift": 1.0}), padding="border")
    expected = [[2, 3, 4, 4], [2, 3, 4, 4], [6, 7, 8, 8], [10, 11, 12, 12]]
    assert torch.allclose(shifted[0, 0] * 16, torch.tensor(expected, dtype=torch.float), atol=1e-4)


def test_random_brightness_multiplies_each_image_and_clips() -> None:
    images = torch.tensor([0.0, 0.5, 0.9]).reshape(1, 1, 1, 3).expand(3, 2, 1, 3)
    changed = random_brightness(images, torch.tensor([-1.0, 0.0, 1.0]), brightness=0.2)
    expected = torch.tensor([[0.0, 0.4, 0.72], [0.0, 0.5, 0.9], [0.0, 0.6, 1.0]])
    assert torch.allclose(changed, expected.reshape(3, 1, 1, 3).expand(3, 2, 1, 3))


@pytest.mark.parametrize("quarters", [1, -1])
def test_random_affine_rotation_by_90_degrees_equals_rot90(quarters: int) -> None:
    rotated = affine(IMAGE, [quarters, 0, 0, 0, 0], rotation=90.0)
    assert torch.allclose(rotated, torch.rot90(IMAGE, quarters, dims=(2, 3)), atol=1e-5)


def test_random_affine_scale_is_about_the_centre() -> None:
    # Grid positions are multiplied by 0.5: values at the quarter points move to the half points.
    ramp = torch.linspace(-1 + 1 / 8, 1 - 1 / 8, 8).expand(1, 1, 8, 8)
    assert torch.allclose(affine(ramp, [0, -1, 0, 0, 0], scale=0.5), ramp / 2, atol=1e-6)


def test_random_affine_shear_shifts_each_row_by_its_height() -> None:
    # Row r of 5 is r − 2 pixels below the centre; a shear of 1 reads as many pixels further to the right.
    row = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    sheared = affine(row.expand(1, 1, 5, 5), [0, 0, 1, 0, 0], shear=1.0)
    assert torch.allclose(sheared[0, 0], torch.eye(5).flip(0), atol=1e-5)


def test_random_affine_draws_differ_between_images() -> None:
    draws = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    augmented = random_affine(IMAGE.expand(6, 1, 4, 4), draws, shift=2.0, rotation=30.0, scale=0.2, shear=0.1)
    assert len(torch.unique(augmented, dim=0)) == 6


def test_random_affine_output_is_in_unit_range() -> None:
    """Up to the rounding of bilinear weights, whose sum is 1 to seven digits and depends on the machine."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(200, 1, 9, 9, generator=generator).round()
    draws = torch.rand(5, 200, generator=generator) * 2 - 1
    augmented = random_affine(images, draws, shift=3.0, rotation=90.0, scale=0.9, shear=2.0)
    assert augmented.min() >= 0
    assert augmented.max() <= 1 + 1e-6
    assert not torch.equal(augmented, images)
