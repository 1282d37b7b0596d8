"""Attribution methods: identities of GAP + linear networks, definitions as naive loops, and other libraries."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cam_adv.attributions.cam import class_activation_maps
from cam_adv.attributions.class_maps import cam, contrast_cam, last_channel_cam
from cam_adv.attributions.gradient_maps import grad_cam, grad_cam_pp, hires_cam, layer_cam
from cam_adv.attributions.integrated_gradients import integrated_gradients
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.attributions.score_cam import score_cam
from cam_adv.errors import UserError
from cam_adv.models.victims import GapCNN, LeNet, small_image_resnet18

Method = Callable[..., Tensor]

METHODS: dict[str, Method] = {
    "cam": cam,
    "contrast_cam": contrast_cam,
    "last_channel_cam": last_channel_cam,
    "hires_cam": hires_cam,
    "grad_cam": partial(grad_cam, rectify=True),
    "grad_cam_pp": partial(grad_cam_pp, rectify=True),
    "layer_cam": partial(layer_cam, rectify=True),
    "score_cam": partial(score_cam, rectify=True),
    "integrated_gradients": partial(integrated_gradients, baseline=0.0, steps=8),
}
FOR_ANY_NETWORK = ("hires_cam", "grad_cam", "grad_cam_pp", "layer_cam", "score_cam", "integrated_gradients")
CONF = Path(__file__).parents[2] / "conf" / "attribution"

LABEL = torch.tensor([3, 0, 7, 3])
TARGET = torch.tensor([1, 9, 0, 4])


def images(side: int = 12) -> Tensor:
    return torch.rand(4, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gap() -> LayerTarget:
    """The default victim, small, with 3×3 maps and batch statistics other than 0 and 1."""
    torch.manual_seed(1)
    network = GapCNN(1, 10, (4, 6, 8)).double()
    network(images())
    return LayerTarget.with_exact_cam(network.eval(), images())


def lenet() -> LayerTarget:
    """A network without exact CAM; its maps after the second convolution are signed."""
    torch.manual_seed(2)
    network = LeNet(1, 10, (12, 12)).double().eval()
    return LayerTarget(network, network[0][3])


def maps_and_gradient(layer_target: LayerTarget) -> tuple[Tensor, Tensor]:
    """A and ∂logit_y/∂A, with one backward pass for each image."""
    outputs: list[Tensor] = []
    hook = layer_target.layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    gradients = []
    for image, label in zip(images(), LABEL, strict=True):
        logits = layer_target.network(image.unsqueeze(0))
        gradients.append(torch.autograd.grad(logits[0, label], outputs[-1])[0])
    hook.remove()
    return torch.cat(outputs).detach(), torch.cat(gradients)


def assert_same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


# Identities of a network that ends in global average pooling and one linear layer


def test_cam_adds_up_to_logit_and_contrast_cam_to_margin() -> None:
    layer_target = gap()
    logits, bias, every = layer_target.network(images()), layer_target.linear.bias, torch.arange(4)
    maps = cam(layer_target, images(), LABEL, TARGET)
    assert maps.shape == (4, 3, 3)
    assert_same(maps.mean(dim=(1, 2)) + bias[LABEL], logits[every, LABEL])
    contrast = contrast_cam(layer_target, images(), LABEL, TARGET)
    margin = logits[every, LABEL] - logits[every, TARGET]
    assert_same(contrast.mean(dim=(1, 2)) + bias[LABEL] - bias[TARGET], margin)
    assert_same(contrast, maps - cam(layer_target, images(), TARGET, LABEL))


def test_hires_cam_and_signed_grad_cam_equal_cam_per_position() -> None:
    layer_target = gap()
    expected = cam(layer_target, images(), LABEL, TARGET) / 9
    assert (expected < 0).any()
    assert_same(hires_cam(layer_target, images(), LABEL, TARGET), expected)
    assert_same(grad_cam(layer_target, images(), LABEL, TARGET, rectify=False), expected)
    assert_same(grad_cam(layer_target, images(), LABEL, TARGET, rectify=True), expected.relu())


def test_gradient_of_gap_network_is_linear_weight_per_position() -> None:
    layer_target = gap()
    maps, gradient = maps_and_gradient(layer_target)
    assert_same(gradient, (layer_target.linear.weight[LABEL] / 9)[:, :, None, None].expand_as(gradient).detach())
    summed = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)
    assert_same(grad_cam(layer_target, images(), LABEL, TARGET, rectify=False), summed)


def test_layer_cam_uses_positive_weights_only() -> None:
    layer_target = gap()
    maps, _ = maps_and_gradient(layer_target)
    positive = torch.einsum("nk,nkhw->nhw", layer_target.linear.weight[LABEL].relu().detach(), maps) / 9
    assert_same(layer_cam(layer_target, images(), LABEL, TARGET, rectify=True), positive)
    assert (positive - hires_cam(layer_target, images(), LABEL, TARGET)).abs().max() > 1e-3


def test_last_channel_cam_is_one_term_of_cam() -> None:
    layer_target = gap()
    maps, _ = maps_and_gradient(layer_target)
    last = last_channel_cam(layer_target, images(), LABEL, TARGET)
    assert_same(
        last, torch.stack([layer_target.linear.weight[y, 7] * a[7] for y, a in zip(LABEL, maps, strict=True)])
    )
    others = torch.einsum("nk,nkhw->nhw", layer_target.linear.weight[LABEL, :7], maps[:, :7])
    assert_same(last + others.detach(), cam(layer_target, images(), LABEL, TARGET))


def test_cam_is_linear_in_the_weights() -> None:
    generator = torch.Generator().manual_seed(3)
    feature_map = torch.rand(2, 5, 3, 3, generator=generator, dtype=torch.float64)
    one, other = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    both = class_activation_maps(feature_map, 2 * one - 0.5 * other)
    parts = 2 * class_activation_maps(feature_map, one) - 0.5 * class_activation_maps(feature_map, other)
    assert_same(both, parts)


def test_offset_of_all_weight_rows_changes_cam_but_not_probabilities_or_contrast_cam() -> None:
    layer_target = gap()
    probs = layer_target.network(images()).softmax(dim=1)
    before = [method(layer_target, images(), LABEL, TARGET) for method in (cam, contrast_cam)]
    with torch.no_grad():
        layer_target.linear.weight += torch.randn(8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    after = [method(layer_target, images(), LABEL, TARGET) for method in (cam, contrast_cam)]
    assert_same(layer_target.network(images()).softmax(dim=1), probs)
    assert_same(after[1], before[1])
    assert (after[0] - before[0]).abs().amax(dim=(1, 2)).min() > 0.1


class PermutePositions(nn.Module):
    """Permutes the positions of the maps."""

    def forward(self, maps: Tensor) -> Tensor:
        order = torch.randperm(9, generator=torch.Generator().manual_seed(5))
        return maps.flatten(2)[:, :, order].unflatten(2, (3, 3))


@pytest.mark.parametrize("name", ["cam", "contrast_cam", "last_channel_cam", *FOR_ANY_NETWORK[:4]])
def test_method_with_permuted_positions_permutes_its_map(name: str) -> None:
    layer_target = gap()
    permute = PermutePositions()
    body = nn.Sequential(
        layer_target.network.features, permute, nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer_target.linear
    )
    shuffled = LayerTarget(body.eval(), permute, layer_target.linear)
    assert_same(body(images()), layer_target.network(images()))
    expected = permute(METHODS[name](layer_target, images(), LABEL, TARGET).unsqueeze(1)).squeeze(1)
    assert_same(METHODS[name](shuffled, images(), LABEL, TARGET), expected)


# Definitions, as naive loops, also at a layer without global average pooling after it


@pytest.mark.parametrize("make", [gap, lenet])
@pytest.mark.parametrize("rectify", [True, False])
def test_gradient_maps_match_naive_loops(make: Callable[[], LayerTarget], rectify: bool) -> None:
    layer_target = make()
    maps, gradient = maps_and_gradient(layer_target)
    count, channels, height, width = maps.shape
    hires, grad, pp, layer = torch.zeros(4, count, height, width, dtype=torch.float64)
    for n in range(count):
        for k in range(channels):
            a, g = maps[n, k], gradient[n, k]
            weight_pp = 0.0
            for i in range(height):
                for j in range(width):
                    if g[i, j] > 0:
                        weight_pp += g[i, j] * g[i, j] ** 2 / (2 * g[i, j] ** 2 + (a * g[i, j] ** 3).sum())
                    hires[n, i, j] += g[i, j] * a[i, j]
                    layer[n, i, j] += max(g[i, j], 0) * a[i, j]
            grad[n] += g.mean() * a
            pp[n] += weight_pp * a
    assert_same(hires_cam(layer_target, images(), LABEL, TARGET), hires)
    for method, expected in ((grad_cam, grad), (grad_cam_pp, pp), (layer_cam, layer)):
        found = method(layer_target, images(), LABEL, TARGET, rectify=rectify)
        assert_same(found, expected.relu() if rectify else expected)


def test_grad_cam_pp_matches_derivatives_of_its_score() -> None:
    """The weights as defined in the paper, from the first three derivatives of exp(logit) in one activation.

    The common factor exp(logit) of the weights is divided out.
    """
    layer_target = gap()
    maps, _ = maps_and_gradient(layer_target)
    expected = torch.zeros(4, 3, 3, dtype=torch.float64)
    for n, label in enumerate(LABEL):
        logit = layer_target.network(images()[n : n + 1])[0, label].detach()
        for k in range(8):
            weight = 0.0
            for i in range(3):
                for j in range(3):
                    increment = torch.zeros((), dtype=torch.float64, requires_grad=True)
                    spot = torch.zeros(8, 3, 3, dtype=torch.float64)
                    spot[k, i, j] = 1.0
                    score = layer_target.linear((maps[n] + increment * spot).mean(dim=(1, 2)))[label].exp()
                    (first,) = torch.autograd.grad(score, increment, create_graph=True)
                    (second,) = torch.autograd.grad(first, increment, create_graph=True)
                    (third,) = torch.autograd.grad(second, increment)
                    alpha = second / (2 * second + maps[n, k].sum() * third)
                    weight += (alpha * first.relu() / logit.exp()).detach()
            expected[n] += weight * maps[n, k]
    assert_same(grad_cam_pp(layer_target, images(), LABEL, TARGET, rectify=False), expected)


def test_score_cam_matches_naive_loop() -> None:
    layer_target = lenet()
    maps, _ = maps_and_gradient(layer_target)
    expected = torch.zeros(4, *maps.shape[2:], dtype=torch.float64)
    for n, (image, label) in enumerate(zip(images(), LABEL, strict=True)):
        scores = []
        for channel in maps[n]:
            large = interpolate(channel[None, None], (12, 12), mode="bilinear")[0, 0]
            mask = (large - large.min()) / (large.max() - large.min())
            scores.append(layer_target.network((image * mask).unsqueeze(0))[0, label].detach())
        expected[n] = (torch.stack(scores).softmax(dim=0)[:, None, None] * maps[n]).sum(dim=0)
    assert_same(score_cam(layer_target, images(), LABEL, TARGET, rectify=False), expected)
    assert_same(score_cam(layer_target, images(), LABEL, TARGET, rectify=True), expected.relu())


def test_score_cam_of_constant_channel_masks_everything() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 10)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([5.0, 0.0]))
    weight = torch.stack([network(torch.zeros_like(images())), network(images() * scaled(images()))], dim=2)[
        torch.arange(4), LABEL
    ].softmax(dim=1)
    expected = weight[:, 0, None, None] * 5 + weight[:, 1, None, None] * images()[:, 0]
    found = score_cam(LayerTarget(network, network[0]), images(), LABEL, TARGET, rectify=False)
    assert_same(found, expected.detach())


def scaled(batch: Tensor) -> Tensor:
    low, high = batch.amin(dim=(2, 3), keepdim=True), batch.amax(dim=(2, 3), keepdim=True)
    return (batch - low) / (high - low)


def test_integrated_gradients_add_up_to_logit_difference() -> None:
    """Exactly for a smooth network; for a linear one the map is the weight times the change of the pixel."""
    torch.manual_seed(6)
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(144, 10), nn.Tanh(), nn.Linear(10, 10)).double()
    maps = integrated_gradients(LayerTarget(smooth, smooth), images(), LABEL, TARGET, baseline=0.2, steps=32)
    difference = smooth(images()) - smooth(torch.full_like(images(), 0.2))
    assert maps.shape == (4, 12, 12)
    assert_same(maps.sum(dim=(1, 2)), difference[torch.arange(4), LABEL].detach())
    linear = nn.Sequential(nn.Flatten(), nn.Linear(144, 10)).double()
    maps = integrated_gradients(LayerTarget(linear, linear), images(), LABEL, TARGET, baseline=0.2, steps=1)
    assert_same(maps, (linear[1].weight[LABEL].reshape(4, 12, 12) * (images()[:, 0] - 0.2)).detach())


# Properties of every method


@pytest.mark.parametrize("name", METHODS)
def test_method_result_does_not_depend_on_the_batch(name: str) -> None:
    layer_target, method = gap(), METHODS[name]
    together = method(layer_target, images(), LABEL, TARGET)
    alone = [method(layer_target, images()[n : n + 1], LABEL[n : n + 1], TARGET[n : n + 1]) for n in range(4)]
    assert_same(together, torch.cat(alone))
    assert not together.requires_grad
    assert together.shape == ((4, 12, 12) if name == "integrated_gradients" else (4, 3, 3))


@pytest.mark.parametrize("name", ["cam", "hires_cam", "grad_cam", "grad_cam_pp", "score_cam"])
def test_method_without_rectify_keeps_negative_maps(name: str) -> None:
    """Maps A > 0 and a linear layer with negative weights only. Grad-CAM++ and Score-CAM need A < 0 for that."""
    torch.manual_seed(7)
    sign = -1.0 if name in ("grad_cam_pp", "score_cam") else 1.0
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)).double()
    with torch.no_grad():
        network[0].weight.abs_().mul_(sign)
        network[0].bias.fill_(sign)
        network[3].weight.abs_().mul_(-sign)
    method = METHODS[name]
    if isinstance(method, partial):
        blank = method(LayerTarget(network, network[0], network[3]), images(), LABEL, TARGET)
        assert torch.equal(blank, torch.zeros_like(blank))
        method = partial(method.func, rectify=False)
    maps = method(LayerTarget(network, network[0], network[3]), images(), LABEL, TARGET)
    assert (maps < 0).all()
    assert (maps.amax(dim=(1, 2)) - maps.amin(dim=(1, 2)) > 1e-6).all()


class Failing(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        raise RuntimeError("broken head")


@pytest.mark.parametrize("grad", [True, False], ids=["recording", "under no_grad"])
@pytest.mark.parametrize("name", METHODS)
def test_method_leaves_network_unchanged(name: str, grad: bool) -> None:
    """Modes, statistics, weights, their .grad and hooks: also for a network in training mode, and after an error."""
    layer_target = gap()
    layer_target.network.train()
    layer_target.network.features[0].eval()
    modes = [module.training for module in layer_target.network.modules()]
    state = {key: value.clone() for key, value in layer_target.network.state_dict().items()}
    in_use = METHODS[name](gap(), images(), LABEL, TARGET)
    with torch.set_grad_enabled(grad):
        assert_same(METHODS[name](layer_target, images(), LABEL, TARGET), in_use)
        head, layer_target.network.classifier = layer_target.network.classifier, Failing()
        with pytest.raises(RuntimeError, match="broken head"):
            METHODS[name](layer_target, images(), LABEL, TARGET)
        layer_target.network.classifier = head
    assert [module.training for module in layer_target.network.modules()] == modes
    assert not any(module._forward_hooks for module in layer_target.network.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in layer_target.network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in layer_target.network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", FOR_ANY_NETWORK)
def test_method_works_with_frozen_weights_and_in_place_layers(name: str) -> None:
    """In a ResNet block, the batch norm is followed by an in-place ReLU and bypassed by a skip connection."""
    torch.manual_seed(8)
    network = small_image_resnet18(1, 10).double().eval().requires_grad_(False)
    layer = network.layer1[1].bn1
    before = network(images())
    maps = METHODS[name](LayerTarget(network, layer), images(), LABEL, TARGET)
    assert maps.isfinite().all()
    assert maps.abs().amax() > 0
    assert torch.equal(network(images()), before)


@pytest.mark.parametrize("name", METHODS)
def test_method_works_in_inference_mode_and_returns_no_graph(name: str) -> None:
    layer_target = gap()
    expected = METHODS[name](layer_target, images(), LABEL, TARGET)
    with torch.inference_mode():
        found = METHODS[name](layer_target, images(), LABEL + 0, TARGET + 0)
    assert_same(found, expected)
    with_graph = METHODS[name](layer_target, images().requires_grad_(), LABEL, TARGET)
    assert not with_graph.requires_grad
    assert_same(with_graph, expected)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (LABEL.int(), r"The label is torch\.int32"),
        (LABEL.double(), r"The label is torch\.float64"),
        (nn.functional.one_hot(LABEL, 10), "one number for each class"),
        (LABEL + 5, "names class 12, but there are 10 classes"),
        (LABEL[:2], "but there are 4 images"),
    ],
)
def test_labels_that_are_no_classes_are_refused(name: str, label: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        METHODS[name](gap(), images(), label, TARGET)


@pytest.mark.parametrize("name", FOR_ANY_NETWORK)
@pytest.mark.parametrize(
    ("after", "message"),
    [(nn.Softmax(dim=1), "The network returns probabilities"), (nn.Flatten(0), r"The network returns \(40,\)")],
)
def test_networks_without_logits_are_refused(name: str, after: nn.Module, message: str) -> None:
    network = gap().network
    with pytest.raises(UserError, match=message):
        METHODS[name](LayerTarget(nn.Sequential(network, after), network.features), images(), LABEL, TARGET)


def test_method_without_exact_cam_or_maps_raises() -> None:
    without = lenet()
    for method in (cam, contrast_cam, last_channel_cam):
        with pytest.raises(UserError, match="CAM is not defined"):
            method(without, images(), LABEL, TARGET)
    with pytest.raises(UserError, match="CAM is not defined"):
        LayerTarget.with_exact_cam(without.network, images())
    for layer in (without.network[1], nn.Conv2d(1, 1, 1)):
        with pytest.raises(UserError, match="made no maps"):
            hires_cam(LayerTarget(without.network, layer), images(), LABEL, TARGET)


@pytest.mark.parametrize("name", METHODS)
def test_config_file_instantiates_its_method(name: str) -> None:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    assert config.name == name
    method = instantiate(config.method)
    found = partial(method, gap())(images(), LABEL, TARGET)
    if name == "integrated_gradients":
        assert_same(found, METHODS[name](gap(), images(), LABEL, TARGET), tolerance=0.05)  # fewer steps there
    else:
        assert_same(found, METHODS[name](gap(), images(), LABEL, TARGET))


def test_every_config_file_is_tested() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == {*METHODS, "robust"}  # robust: see test_robust.py


# Other libraries, on the same networks


@pytest.mark.parametrize("make", [gap, lenet])
def test_methods_match_captum(make: Callable[[], LayerTarget]) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    layer_target = make()
    theirs = attr.LayerGradCam(layer_target.network, layer_target.layer).attribute(images(), LABEL).squeeze(1)
    assert_same(grad_cam(layer_target, images(), LABEL, TARGET, rectify=False), theirs.detach(), 1e-5)
    theirs = attr.LayerGradCam(layer_target.network, layer_target.layer).attribute(
        images(), LABEL, relu_attributions=True
    )
    assert_same(grad_cam(layer_target, images(), LABEL, TARGET, rectify=True), theirs.squeeze(1).detach(), 1e-5)
    theirs = (
        attr.LayerGradientXActivation(layer_target.network, layer_target.layer).attribute(images(), LABEL).sum(dim=1)
    )
    assert_same(hires_cam(layer_target, images(), LABEL, TARGET), theirs.detach(), 1e-5)
    theirs = attr.IntegratedGradients(layer_target.network).attribute(images(), 0.1, LABEL, n_steps=20).squeeze(1)
    found = integrated_gradients(layer_target, images(), LABEL, TARGET, baseline=0.1, steps=20)
    assert_same(found, theirs.detach(), 1e-5)


@pytest.mark.parametrize("make", [gap, lenet])
@pytest.mark.parametrize("theirs", ["CAM", "GradCAM", "LayerCAM"])
def test_cam_grad_cam_and_layer_cam_match_torchcam(make: Callable[[], LayerTarget], theirs: str) -> None:
    """Not Grad-CAM++: torchcam 0.5.0 divides its alpha in a copy that is not used."""
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    ours = {"CAM": cam, "GradCAM": METHODS["grad_cam"], "LayerCAM": METHODS["layer_cam"]}[theirs]
    layer_target = make()
    if theirs == "CAM" and layer_target.linear is None:
        pytest.skip("no exact CAM")
    arguments = {"fc_layer": layer_target.linear} if theirs == "CAM" else {}
    with getattr(methods, theirs)(layer_target.network, layer_target.layer, **arguments) as extractor:
        scores = layer_target.network(images())
        (expected,) = extractor(LABEL.tolist(), scores, normalized=False)
    assert_same(ours(layer_target, images(), LABEL, TARGET), expected.detach(), 1e-5)


def test_score_cam_matches_torchcam() -> None:
    """At a layer as large as the image: torchcam scales a channel before resizing it, the paper after."""
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    for network, layer in ((gap().network, "features.0"), (lenet().network, "0.0")):
        layer_target = LayerTarget(network, network.get_submodule(layer))
        with methods.ScoreCAM(layer_target.network, layer_target.layer) as extractor:
            layer_target.network(images())
            (expected,) = extractor(LABEL.tolist(), normalized=False)
        assert_same(score_cam(layer_target, images(), LABEL, TARGET, rectify=True), expected.detach(), 1e-5)
