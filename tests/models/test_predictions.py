"""Predictions batch by batch: values in order, and batches that become smaller where images are larger."""

import pytest
import torch
from torch import Tensor

from cam_adv.models.predictions import batch_size, batched_apply

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("numbers", "size"), [(1, 500), (3 * 64 * 64, 500), (3 * 128 * 128, 125), (3 * 1024 * 1024, 1), (10**9, 1)]
)
def test_batch_size_halves_with_twice_the_pixels(numbers: int, size: int) -> None:
    assert batch_size(numbers) == size


def test_batch_size_keeps_to_the_largest() -> None:
    assert (batch_size(784, largest=64), batch_size(3 * 128 * 128, largest=64)) == (64, 16)


def test_bytes_become_numbers_in_the_unit_range_in_order() -> None:
    images = torch.arange(1200, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(1200, 1, 1, 1)
    assert torch.equal(batched_apply(lambda part: part * 2, images, CPU), images.float() / 255 * 2)


def test_codes_of_large_images_are_drawn_in_small_batches() -> None:
    sizes = []

    def decode(codes: Tensor) -> Tensor:
        sizes.append(len(codes))
        return codes[:, :1, None, None].expand(-1, 3, 256, 256).contiguous()

    codes = torch.arange(70.0).reshape(70, 1)
    assert torch.equal(batched_apply(decode, codes, CPU)[:, 0, 0, 0], codes[:, 0])
    assert max(sizes) == 31  # 500 · 64² / 256²
