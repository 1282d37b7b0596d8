"""Class activation maps: by hand, and the identities of networks with global average pooling and a linear layer."""

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attributions.cam import checked_cams, class_activation_maps, find_cam_head
from cam_adv.errors import UserError
from cam_adv.models.victims import MLP, GapCNN, LeNet, TinyGapCNN, small_image_resnet18


def images(count: int = 3, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 28, 28, generator=torch.Generator().manual_seed(0))


def gap_networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "gap_cnn": GapCNN(1, 10, (4, 8, 16)),
        "gap_cnn_tiny": TinyGapCNN(1, 10),
        "resnet18": small_image_resnet18(1, 10),
        "without bias": nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4, bias=False)
        ),
    }


def test_class_activation_maps_by_hand() -> None:
    """Two channels of 2×2 and two classes: every channel counts, with the sign of its weight."""
    feature_map = torch.tensor([[[[1.0, 0.0], [2.0, 3.0]], [[0.0, 5.0], [1.0, 1.0]]]])
    weight = torch.tensor([[2.0, -1.0], [0.5, 1.0]])
    expected = torch.tensor([[[[2.0, -5.0], [3.0, 5.0]], [[0.5, 5.0], [2.0, 2.5]]]])
    assert torch.equal(class_activation_maps(feature_map, weight), expected)


@pytest.mark.parametrize("name", gap_networks())
def test_checked_cams_mean_plus_bias_is_the_logit(name: str) -> None:
    network = gap_networks()[name].double().eval()
    batch = images().double()
    cam_head = find_cam_head(network, batch)
    assert cam_head is not None
    logits, maps = checked_cams(network, cam_head, batch)
    bias = 0 if cam_head.linear.bias is None else cam_head.linear.bias
    assert torch.equal(logits, network(batch))
    assert torch.allclose(maps.mean(dim=(2, 3)) + bias, logits, atol=1e-9, rtol=0)


def test_checked_cams_of_default_victim_are_7_by_7() -> None:
    network = gap_networks()["gap_cnn"].eval()
    cam_head = find_cam_head(network, images())
    assert cam_head is not None
    assert checked_cams(network, cam_head, images())[1].shape == (3, 10, 7, 7)


def test_class_activation_maps_of_permuted_positions_are_permuted_with_equal_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    feature_map = torch.rand(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    order = torch.randperm(12, generator=generator)
    shuffled = feature_map.flatten(2)[:, :, order].unflatten(2, (3, 4))
    maps, permuted = class_activation_maps(feature_map, weight), class_activation_maps(shuffled, weight)
    assert torch.allclose(permuted.flatten(2), maps.flatten(2)[:, :, order], atol=1e-12)
    assert torch.allclose(permuted.mean(dim=(2, 3)), maps.mean(dim=(2, 3)), atol=1e-12)


@pytest.mark.parametrize(
    "network",
    [
        MLP(1, 10, (28, 28), 16),
        LeNet(1, 10, (28, 28)),
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10), nn.Softplus()),
    ],
    ids=["mlp", "lenet", "max pooling", "something after the linear layer"],
)
def test_find_cam_head_without_exact_cam_returns_none(network: nn.Module) -> None:
    assert find_cam_head(network.eval(), images()) is None


def test_checked_cams_that_do_not_add_up_to_logits_raise() -> None:
    """The CAM head is correct, but the network adds an offset to the logits of some batches."""

    class WithOffset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = gap_networks()["gap_cnn_tiny"]

        def forward(self, batch: Tensor) -> Tensor:
            return self.body(batch) + (0.01 if len(batch) == 2 else 0.0)

    network = WithOffset().eval()
    cam_head = find_cam_head(network.body, images())
    assert cam_head is not None
    checked_cams(network, cam_head, images(3))
    with pytest.raises(UserError, match=r"off by 0\.01"):
        checked_cams(network, cam_head, images(2))
