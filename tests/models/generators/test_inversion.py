"""Inversion by gradients: it gets nearer, keeps the best code, and no image depends on its batch."""

import pytest
import torch
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.models.generators.inversion import TOGETHER, Inversion

WEIGHT = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


def draw(codes: Tensor) -> Tensor:
    return (codes @ WEIGHT).reshape(-1, 1, 2, 4)


def error(codes: Tensor, images: Tensor) -> Tensor:
    return (draw(codes) - images).square().sum(dim=(1, 2, 3))


def codes(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(1))


def test_codes_that_drew_the_images_are_found() -> None:
    found = Inversion(steps=300, learning_rate=0.05).refine(draw, torch.zeros(5, 3), draw(codes(5)))
    assert torch.allclose(found, codes(5), atol=0.01)


def test_zero_steps_return_the_guess() -> None:
    assert torch.equal(
        Inversion(steps=0, learning_rate=0.1).refine(draw, codes(2), torch.zeros(2, 1, 2, 4)), codes(2)
    )


def test_steps_that_are_too_long_leave_no_image_worse() -> None:
    guess = codes(4) + 0.01
    found = Inversion(steps=7, learning_rate=50.0).refine(draw, guess, draw(codes(4)))
    assert torch.equal(found, guess)


def test_value_out_of_range_is_refused_by_its_path() -> None:
    with pytest.raises(UserError, match=r"model\.generator\.network\.inversion\.steps=-1"):
        Inversion(steps=-1, learning_rate=0.1)


def test_error_falls_for_each_image() -> None:
    images = torch.rand(6, 1, 2, 4, generator=torch.Generator().manual_seed(2))
    found = Inversion(steps=50, learning_rate=0.05).refine(draw, codes(6), images)
    assert (error(found, images) < error(codes(6), images)).all()
    assert not found.requires_grad


def test_an_image_alone_and_among_more_than_are_inverted_together_gets_the_same_code() -> None:
    images = torch.rand(TOGETHER + 5, 1, 2, 4, generator=torch.Generator().manual_seed(2))
    inversion, guess = Inversion(steps=40, learning_rate=0.05), codes(TOGETHER + 5)
    with torch.no_grad():  # as predictions are made
        together = inversion.refine(draw, guess, images)
    for row in (0, 3, TOGETHER, TOGETHER + 4):
        alone = inversion.refine(draw, guess[row : row + 1], images[row : row + 1])
        assert torch.allclose(alone[0], together[row], atol=1e-5)
