"""Feature squeezing: squeezers by hand and against SciPy, and the distance of predictions by hand."""

import pytest
import torch
from scipy.ndimage import median_filter as scipy_median_filter
from torch import Tensor, nn

from cam_adv.studies.attack_comparison.feature_squeezing import median_filter, reduce_bit_depth, squeezing_distance


class FirstPixelClassifier(nn.Module):
    """Logits (0, w·first pixel): the prediction depends on one pixel."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor:
        first = self.weight * images[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(first), first], dim=1)


def test_reduce_bit_depth_by_hand() -> None:
    grays = torch.tensor([0.0, 0.1, 0.49, 0.51, 0.9, 1.0])
    assert reduce_bit_depth(grays, 1).tolist() == [0, 0, 0, 1, 1, 1]
    two_bits = reduce_bit_depth(grays, 2)
    torch.testing.assert_close(two_bits, torch.tensor([0, 0, 1, 2, 3, 3]) / 3)
    eight_bits = torch.arange(256) / 255
    torch.testing.assert_close(reduce_bit_depth(eight_bits, 8), eight_bits)


def test_median_filter_by_hand() -> None:
    image = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])[None, None]
    # Of each 2×2 window that ends at the pixel, the third of the four ordered values.
    expected = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.4, 0.5], [0.7, 0.7, 0.8]])
    assert torch.equal(median_filter(image, 2)[0, 0], expected)


@pytest.mark.parametrize("window", [2, 3])
def test_median_filter_equals_scipy(window: int) -> None:
    images = torch.rand(3, 2, 7, 6, generator=torch.Generator().manual_seed(0))
    expected = scipy_median_filter(images.numpy(), size=(1, 1, window, window), mode="reflect")
    assert torch.equal(median_filter(images, window), torch.from_numpy(expected))


def test_squeezing_distance_is_the_largest_over_squeezers() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 0.6
    # With one bit the pixel becomes 1; its 2×2 window contains it four times, so that the median keeps it.
    probability = torch.tensor([0.6, 1.0]).mul(2).sigmoid()
    expected = 2 * (probability[1] - probability[0])
    torch.testing.assert_close(squeezing_distance(FirstPixelClassifier(2), image, 1, 2), expected[None])
    # The 3×3 window contains zeros and the pixel four times: the median removes it, a larger change.
    expected = 2 * (probability[0] - 0.5)
    torch.testing.assert_close(squeezing_distance(FirstPixelClassifier(2), image, 1, 3), expected[None])


def test_squeezing_distance_of_unchanged_image_is_zero() -> None:
    image = torch.zeros(1, 1, 6, 6)
    image[:, :, :, 3:] = 1
    assert squeezing_distance(FirstPixelClassifier(5), image, 1, 2).item() == 0
