"""The loss in features: distances by hand, and who learns from what."""

import pytest
import torch
from torch import Tensor

from cam_adv.models.blocks import group_norm
from cam_adv.training.feature_loss import FeatureLoss, feature_distance


def losses(images: Tensor, decoded: Tensor) -> tuple[FeatureLoss, Tensor, Tensor]:
    torch.manual_seed(0)
    loss = FeatureLoss(3, 4, width=8)
    return loss, *loss(images, decoded, torch.tensor([0, 3]))


def test_feature_distance_by_hand() -> None:
    """Two positions: features at a right angle are 2 apart, parallel ones 0, opposite ones 4."""
    first = torch.tensor([[3.0, 1.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    second = torch.tensor([[0.0, 5.0], [7.0, 0.0]]).reshape(1, 2, 1, 2)
    assert feature_distance([first], [second]).item() == pytest.approx(1.0)  # the average of 2 and 0
    assert feature_distance([first, first], [second, -first]).item() == pytest.approx(5.0)  # layers are summed


def test_equal_images_have_no_distance_and_blurred_ones_have_some() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
    assert losses(images, images)[1].tolist() == [0, 0]
    assert losses(images, blurred)[1].min() > 0.1


def test_classifier_learns_from_labels_alone_and_reconstructions_from_the_distance() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    decoded = (images * 0.5).requires_grad_()
    loss, distance, classifier_loss = losses(images, decoded)
    (gradient,) = torch.autograd.grad(distance.sum(), decoded, retain_graph=True)
    assert gradient.abs().sum() > 0
    assert all(
        part is None
        for part in torch.autograd.grad(distance.sum(), list(loss.parameters()), allow_unused=True, retain_graph=True)
    )
    assert all(
        part.abs().sum() > 0
        for part in torch.autograd.grad(classifier_loss.sum(), list(loss.parameters()), retain_graph=True)
    )
    assert torch.autograd.grad(classifier_loss.sum(), decoded, allow_unused=True) == (None,)
    assert all(weight.requires_grad for weight in loss.parameters())


def test_features_halve_their_size_and_double_their_channels() -> None:
    features = FeatureLoss(1, 4, width=8).features(torch.rand(2, 1, 28, 28))
    assert [tuple(part.shape[1:]) for part in features] == [(8, 28, 28), (16, 14, 14), (32, 7, 7)]


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (96, 12), (12, 3), (26, 13), (7, 7)])
def test_group_norm_takes_any_number_of_channels(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups
    assert group_norm(channels)(torch.rand(2, channels, 3, 3)).shape == (2, channels, 3, 3)
