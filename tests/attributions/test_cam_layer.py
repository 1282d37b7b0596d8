"""The layer of the exact CAM: the maps that the pooling reads, whatever stands between and however it is written."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attributions.cam import find_cam_head, logits_and_feature_map
from cam_adv.attributions.class_maps import cam
from cam_adv.attributions.gradient_maps import grad_cam, hires_cam
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.errors import UserError
from cam_adv.models.victims import GapCNN, TinyGapCNN, small_image_resnet18

LABEL = torch.tensor([2, 0, 1, 2, 1])


def images() -> Tensor:
    return torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def with_statistics(network: nn.Module) -> nn.Module:
    """The network in double precision, in evaluation mode, with batch statistics other than 0 and 1."""
    network.double()(images())
    return network.eval()


SHIPPED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "gap_cnn": (lambda: GapCNN(1, 3, (4, 6, 8)), "features.4.2"),
    "gap_cnn_deep": (lambda: GapCNN(1, 3, (4, 6, 8), convolutions=2), "features.7.2"),
    "gap_cnn_tiny": (lambda: TinyGapCNN(1, 3), "features.5"),
    "resnet18": (lambda: small_image_resnet18(1, 3), "layer4.1"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_explanations_of_shipped_victims_match_captum_at_the_pooled_layer(name: str) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    torch.manual_seed(0)
    make, layer = SHIPPED[name]
    network = with_statistics(make())
    found, pooled = LayerTarget.with_exact_cam(network, images()), network.get_submodule(layer)
    arguments: tuple[Any, ...] = (images(), LABEL, LABEL)
    theirs = attr.LayerGradCam(network, pooled).attribute(images(), LABEL).squeeze(1)
    assert torch.allclose(grad_cam(found, *arguments, rectify=False), theirs.detach(), atol=1e-9, rtol=0)
    theirs = attr.LayerGradientXActivation(network, pooled).attribute(images(), LABEL).sum(dim=1)
    assert torch.allclose(hires_cam(found, *arguments), theirs.detach(), atol=1e-9, rtol=0)
    positions = theirs[0].numel()
    assert torch.allclose(cam(found, *arguments), positions * theirs.detach(), atol=1e-9, rtol=0)
    with torch.no_grad():
        assert torch.equal(
            found.logits_and_maps(images())[1], LayerTarget(network, pooled).logits_and_maps(images())[1]
        )


class Net(nn.Module):
    """Maps, a function of them, and then the mean over positions and a linear layer.

    The last convolution has a bias of `shift`: with a high one, its maps are positive for every image.
    """

    def __init__(
        self, shift: float, *last: nn.Module, between: Callable[[Tensor], Tensor] = lambda maps: maps
    ) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), *last)
        nn.init.constant_(self.features[2].bias, shift)
        self.between = between
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3)

    def forward(self, batch: Tensor) -> Tensor:
        return self.linear(self.pool(self.between(self.features(batch))).flatten(1))


class Functional(Net):
    """The pooling is no module either."""

    def forward(self, batch: Tensor) -> Tensor:
        return self.linear(self.between(self.features(batch)).mean(dim=(2, 3)))


class Reused(Net):
    """One ReLU module at two places."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.features[1] = nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, batch: Tensor) -> Tensor:
        maps = self.relu(self.features[2](self.relu(self.features[0](batch))))
        return self.linear(self.pool(maps).flatten(1))


class WithUnusedBranch(Net):
    """A module that is called last, and puts out the maps that are pooled for something else."""

    def __init__(self) -> None:
        super().__init__(0.0, nn.ReLU())
        self.watched = nn.Identity()

    def forward(self, batch: Tensor) -> Tensor:
        maps = self.features(batch)
        self.watched(maps.clone())
        return self.linear(self.pool(maps).flatten(1))


relu_in_place = partial(functional.relu, inplace=True)
HIGH = 50.0

FOUND: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "ReLU in place": (lambda: Net(0.0, nn.ReLU(inplace=True)), "features", False),
    "batch norm, ReLU in place": (lambda: Net(0.0, nn.BatchNorm2d(6), nn.ReLU(inplace=True)), "features", False),
    "batch norm last": (lambda: Net(0.0, nn.ReLU(), nn.BatchNorm2d(6)), "features", False),
    "dropout between": (lambda: Net(0.0, nn.ReLU(), nn.Dropout2d(0.5)), "features", False),
    "pooled twice": (lambda: Net(0.0, nn.ReLU(), nn.AvgPool2d(2)), "features", False),
    "idle ReLU": (lambda: Net(HIGH, nn.ReLU()), "features", False),
    "idle ReLU in place": (lambda: Net(HIGH, nn.ReLU(inplace=True)), "features", False),
    "one ReLU twice": (Reused, "relu", False),
    "unused branch": (WithUnusedBranch, "features", False),
    "function, then a module that pools": (lambda: Net(0.0, between=functional.relu), "pool", True),
    "function in place, then a module": (lambda: Net(0.0, between=relu_in_place), "pool", True),
    "idle function, then a module": (lambda: Net(HIGH, between=functional.relu), "pool", True),
    "idle clipping, then a module": (lambda: Net(0.0, between=lambda maps: maps.clamp(-HIGH, HIGH)), "pool", True),
    "functional pooling": (lambda: Functional(0.0, nn.ReLU()), "features", False),
}


@pytest.mark.parametrize("name", FOUND)
def test_layer_is_the_last_whose_maps_are_pooled(name: str) -> None:
    make, layer, at_input = FOUND[name]
    network = with_statistics(make())
    before = network(images())
    target = LayerTarget.with_exact_cam(network, images())
    assert (target.layer, target.at_input) == (network.get_submodule(layer), at_input)
    with torch.no_grad():
        logits, maps = target.logits_and_maps(images())
    same_logits, same_maps = logits_and_feature_map(network, target.cam_head(), images())
    assert torch.equal(maps, same_maps)
    assert torch.equal(logits, same_logits)
    assert torch.equal(logits, before)
    assert torch.allclose(network.linear(maps.mean(dim=(2, 3))), logits, atol=1e-9, rtol=0)
    assert torch.allclose(
        cam(target, images(), LABEL, LABEL) / maps[0, 0].numel(), hires_cam(target, images(), LABEL, LABEL), atol=1e-9
    )


@pytest.mark.parametrize("between", [functional.relu, relu_in_place, torch.sigmoid])
@pytest.mark.parametrize("shift", [0.0, HIGH])
def test_maps_that_no_module_holds_have_no_exact_cam(between: Callable[[Tensor], Tensor], shift: float) -> None:
    """Also where the function changes nothing for these images, or where its result is pooled in place."""
    network = with_statistics(Functional(shift, between=between))
    assert find_cam_head(network, images()) is None
    with pytest.raises(UserError, match="no module puts out maps") as refusal:
        LayerTarget.with_exact_cam(network, images())
    assert "torch.nn.ReLU" in refusal.value.remedy


@pytest.mark.parametrize("make", [torch.jit.script, partial(torch.jit.trace, example_inputs=images())])
def test_torchscript_is_told_from_a_network_without_pooling(make: Callable[[nn.Module], nn.Module]) -> None:
    network = make(with_statistics(SHIPPED["gap_cnn_tiny"][0]()))
    assert find_cam_head(network, images()) is None
    with pytest.raises(UserError, match="TorchScript") as refusal:
        LayerTarget.with_exact_cam(network, images())
    assert refusal.value.remedy == "Give the torch.nn.Module that it was made from."


def test_maps_must_add_up_for_every_image() -> None:
    """A network that clips dark images only: the first eight are bright."""

    class ClipsDark(Net):
        def forward(self, batch: Tensor) -> Tensor:
            maps = self.features(batch)
            dark = (batch.mean(dim=(1, 2, 3)) < 0.1).reshape(-1, 1, 1, 1)
            return self.linear(self.pool(torch.where(dark, maps.clamp(-1e-3, 1e-3), maps)).flatten(1))

    network = with_statistics(ClipsDark(0.0, nn.BatchNorm2d(6)))
    bright = images().repeat(2, 1, 1, 1)[:8]
    found = find_cam_head(network, bright)
    assert found is not None
    assert found.layer is network.features
    among_dark = find_cam_head(network, torch.cat([bright, torch.zeros_like(bright[:1])]))
    assert among_dark is not None
    assert (among_dark.layer, among_dark.at_input) == (network.pool, True)


def test_named_layer_is_checked_as_it_is_used() -> None:
    """The maps before a ReLU in place, named by hand: their CAM doesn't add up, and is refused."""
    network = with_statistics(Net(0.0, nn.BatchNorm2d(6), nn.ReLU(inplace=True)))
    with pytest.raises(UserError, match="The maps do not explain this network"):
        cam(LayerTarget(network, network.features[3], network.linear), images(), LABEL, LABEL)
