"""Distances between x' and x, and between x' and the real images of its class: by hand."""

import pytest
import torch
from torch import nn

from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.distances import measure_distances, penultimate_features
from cam_adv.models.ensemble import Ensemble

CPU = torch.device("cpu")


def flat(level: int) -> torch.Tensor:
    """An image of one gray level, `(1, 16, 16)` uint8."""
    return torch.full((1, 16, 16), level, dtype=torch.uint8)


def judge() -> Ensemble:
    """Two linear members: the joined inputs of their last layers are all pixels, twice."""
    return Ensemble({name: nn.Sequential(nn.Flatten(), nn.Linear(256, 2)) for name in ("one", "two")})


def test_measure_distances_of_gray_levels_by_hand() -> None:
    """Images of one level each: ‖a − b‖₂ is 16·|a − b|, and the training levels of class 1 are 0 and 100."""
    train = LabelledImages(torch.stack([flat(0), flat(100), flat(250)]), torch.tensor([1, 1, 0]))
    test = LabelledImages(
        torch.stack([flat(2), flat(104), flat(110), flat(90), flat(255)]), torch.tensor([1, 1, 1, 1, 0])
    )
    x = torch.stack([flat(250), flat(250), flat(250)]).float() / 255
    x_adv = torch.stack([flat(1), flat(105), flat(200)]).float() / 255
    found = measure_distances(x, x_adv, torch.ones(3, dtype=torch.long), judge(), train, test, CPU)
    levels = torch.tensor([249.0, 145.0, 50.0])
    torch.testing.assert_close(found.pixels, 16 * levels / 255, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.judge, 2**0.5 * 16 * levels / 255, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.nearest, 16 * torch.tensor([1.0, 5.0, 100.0]) / 255, rtol=0, atol=1e-4)
    # The distances of the real test images of class 1 to their nearest training image are 2, 4, 10 and 10 levels.
    assert found.nearest_rank.tolist() == [0.0, 0.5, 1.0]
    assert found.summary()["near_duplicate_rate"] == pytest.approx(1 / 3)
    assert found.summary()["outlier_rate"] == pytest.approx(1 / 3)
    assert found.summary()["median_nearest"] == pytest.approx(16 * 5 / 255, abs=1e-4)


def test_measure_distances_ssim_of_equal_and_of_constant_images_by_hand() -> None:
    """Of constant images only the luminance term remains: (2ab + c1) / (a² + b² + c1), c1 = 0.01²."""
    data = LabelledImages(torch.stack([flat(0), flat(9)]), torch.tensor([0, 1]))
    x = torch.stack([flat(100), flat(100)]).float() / 255
    x_adv = torch.stack([flat(100), flat(200)]).float() / 255
    found = measure_distances(x, x_adv, torch.ones(2, dtype=torch.long), judge(), data, data, CPU)
    a, b, c = 100 / 255, 200 / 255, 1e-4
    expected = torch.tensor([1.0, (2 * a * b + c) / (a * a + b * b + c)])
    torch.testing.assert_close(found.ssim, expected, rtol=0, atol=1e-4)


def test_measure_distances_of_one_image_has_one_ssim() -> None:
    data = LabelledImages(torch.stack([flat(0), flat(9)]), torch.tensor([0, 1]))
    x = flat(7).unsqueeze(0).float() / 255
    assert measure_distances(x, x, torch.tensor([1]), judge(), data, data, CPU).ssim.tolist() == pytest.approx([1.0])


def test_penultimate_features_are_inputs_of_last_linear_layer_and_leave_no_hook() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 5), nn.ReLU(), nn.Linear(5, 2))
    images = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(penultimate_features([network], images, CPU), network[:3](images))
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in network.modules())


def test_penultimate_features_without_linear_layer_are_the_logits() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 16), nn.Flatten())
    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(penultimate_features([network], images, CPU), network(images))
