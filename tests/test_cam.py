"""Class activation maps: worked by hand, and held against the identities of a GAP + linear network."""

import pytest
import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.explanation.cam import class_activation_maps, explain, find_gap_linear
from cam_adv.networks.victims import MLP, GapCNN, LeNet, TinyGapCNN, small_image_resnet18


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


def test_cam_by_hand() -> None:
    """Two channels of 2×2 and two classes: every channel counts, with its weight's sign."""
    feature_map = torch.tensor([[[[1.0, 0.0], [2.0, 3.0]], [[0.0, 5.0], [1.0, 1.0]]]])
    weight = torch.tensor([[2.0, -1.0], [0.5, 1.0]])
    expected = torch.tensor([[[[2.0, -5.0], [3.0, 5.0]], [[0.5, 5.0], [2.0, 2.5]]]])
    assert torch.equal(class_activation_maps(feature_map, weight), expected)


@pytest.mark.parametrize("name", gap_networks())
def test_mean_of_the_map_plus_bias_is_the_logit(name: str) -> None:
    network = gap_networks()[name].double().eval()
    pictures = images().double()
    place = find_gap_linear(network, pictures)
    assert place is not None
    logits, maps = explain(network, place, pictures)
    bias = 0 if place.linear.bias is None else place.linear.bias
    assert torch.equal(logits, network(pictures))
    assert torch.allclose(maps.mean(dim=(2, 3)) + bias, logits, atol=1e-9, rtol=0)


def test_default_victim_has_seven_by_seven_maps() -> None:
    network = gap_networks()["gap_cnn"].eval()
    place = find_gap_linear(network, images())
    assert place is not None
    assert explain(network, place, images())[1].shape == (3, 10, 7, 7)


def test_permuted_positions_permute_the_map_and_leave_the_logits() -> None:
    generator = torch.Generator().manual_seed(1)
    feature_map = torch.rand(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    order = torch.randperm(12, generator=generator)
    shuffled = feature_map.flatten(2)[:, :, order].unflatten(2, (3, 4))
    maps, moved = class_activation_maps(feature_map, weight), class_activation_maps(shuffled, weight)
    assert torch.allclose(moved.flatten(2), maps.flatten(2)[:, :, order], atol=1e-12)
    assert torch.allclose(moved.mean(dim=(2, 3)), maps.mean(dim=(2, 3)), atol=1e-12)


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
def test_networks_without_an_exact_cam_are_seen_as_such(network: nn.Module) -> None:
    assert find_gap_linear(network.eval(), images()) is None


def test_a_network_that_its_maps_do_not_explain_is_refused() -> None:
    """The place is right, but for some pictures the network adds something of its own to the logits."""

    class Shifty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = gap_networks()["gap_cnn_tiny"]

        def forward(self, pictures: Tensor) -> Tensor:
            return self.body(pictures) + (0.01 if len(pictures) == 2 else 0.0)

    network = Shifty().eval()
    place = find_gap_linear(network.body, images())
    assert place is not None
    explain(network, place, images(3))
    with pytest.raises(UserError, match=r"off by 0\.01"):
        explain(network, place, images(2))
