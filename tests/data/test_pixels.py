"""Pixel values in [0, 1]."""

import torch

from cam_adv.data.pixels import to_unit_range


def test_bytes_are_divided_by_255_and_rounded_once() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_unit_range(levels), (levels.double() / 255).float())


def test_other_types_are_returned_as_they_are() -> None:
    images = torch.tensor([0.5, 3.0])
    assert to_unit_range(images) is images
