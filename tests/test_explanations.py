"""Explanations: identities of GAP + linear networks, definitions by naive loops, and other people's libraries."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cam_adv.errors import UserError
from cam_adv.explanation.cam import class_activation_maps
from cam_adv.explanation.class_maps import cam, contrast_cam, last_channel_cam
from cam_adv.explanation.gradient_maps import grad_cam, grad_cam_pp, hires_cam, layer_cam
from cam_adv.explanation.integrated_gradients import integrated_gradients
from cam_adv.explanation.score_cam import score_cam
from cam_adv.explanation.subject import Subject
from cam_adv.networks.victims import GapCNN, LeNet, small_image_resnet18

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
OF_ANY_NETWORK = ("hires_cam", "grad_cam", "grad_cam_pp", "layer_cam", "score_cam", "integrated_gradients")
CONF = Path(__file__).parents[1] / "conf" / "explanation"

LABEL = torch.tensor([3, 0, 7, 3])
TARGET = torch.tensor([1, 9, 0, 4])


def images(side: int = 12) -> Tensor:
    return torch.rand(4, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gap() -> Subject:
    """The default victim, small, with 3×3 maps, and with batch statistics that are not all 0 and 1."""
    torch.manual_seed(1)
    network = GapCNN(1, 10, (4, 6, 8)).double()
    network(images())
    return Subject.with_exact_cam(network.eval(), images())


def lenet() -> Subject:
    """No exact CAM, its maps after the second convolution are signed."""
    torch.manual_seed(2)
    network = LeNet(1, 10, (12, 12)).double().eval()
    return Subject(network, network[0][3])


def maps_and_gradient(subject: Subject) -> tuple[Tensor, Tensor]:
    """A and ∂logit_y/∂A, by one backward pass for each image."""
    kept: list[Tensor] = []
    hook = subject.layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    gradients = []
    for picture, label in zip(images(), LABEL, strict=True):
        logits = subject.network(picture.unsqueeze(0))
        gradients.append(torch.autograd.grad(logits[0, label], kept[-1])[0])
    hook.remove()
    return torch.cat(kept).detach(), torch.cat(gradients)


def assert_same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


# Identities of a network that ends in global average pooling and one linear layer


def test_cam_adds_up_to_the_logit_and_contrast_cam_to_the_margin() -> None:
    subject = gap()
    logits, bias, every = subject.network(images()), subject.linear.bias, torch.arange(4)
    maps = cam(subject, images(), LABEL, TARGET)
    assert maps.shape == (4, 3, 3)
    assert_same(maps.mean(dim=(1, 2)) + bias[LABEL], logits[every, LABEL])
    contrast = contrast_cam(subject, images(), LABEL, TARGET)
    margin = logits[every, LABEL] - logits[every, TARGET]
    assert_same(contrast.mean(dim=(1, 2)) + bias[LABEL] - bias[TARGET], margin)
    assert_same(contrast, maps - cam(subject, images(), TARGET, LABEL))


def test_hires_cam_and_signed_grad_cam_are_cam_over_the_positions() -> None:
    subject = gap()
    expected = cam(subject, images(), LABEL, TARGET) / 9
    assert (expected < 0).any()
    assert_same(hires_cam(subject, images(), LABEL, TARGET), expected)
    assert_same(grad_cam(subject, images(), LABEL, TARGET, rectify=False), expected)
    assert_same(grad_cam(subject, images(), LABEL, TARGET, rectify=True), expected.relu())


def test_the_gradient_is_the_linear_layers_weight_over_the_positions() -> None:
    subject = gap()
    maps, gradient = maps_and_gradient(subject)
    assert_same(gradient, (subject.linear.weight[LABEL] / 9)[:, :, None, None].expand_as(gradient).detach())
    summed = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)
    assert_same(grad_cam(subject, images(), LABEL, TARGET, rectify=False), summed)


def test_layer_cam_keeps_the_positive_weights_only() -> None:
    subject = gap()
    maps, _ = maps_and_gradient(subject)
    positive = torch.einsum("nk,nkhw->nhw", subject.linear.weight[LABEL].relu().detach(), maps) / 9
    assert_same(layer_cam(subject, images(), LABEL, TARGET, rectify=True), positive)
    assert (positive - hires_cam(subject, images(), LABEL, TARGET)).abs().max() > 1e-3


def test_last_channel_cam_is_one_term_of_the_sum() -> None:
    subject = gap()
    maps, _ = maps_and_gradient(subject)
    last = last_channel_cam(subject, images(), LABEL, TARGET)
    assert_same(last, torch.stack([subject.linear.weight[y, 7] * a[7] for y, a in zip(LABEL, maps, strict=True)]))
    others = torch.einsum("nk,nkhw->nhw", subject.linear.weight[LABEL, :7], maps[:, :7])
    assert_same(last + others.detach(), cam(subject, images(), LABEL, TARGET))


def test_cam_is_linear_in_the_weights() -> None:
    generator = torch.Generator().manual_seed(3)
    feature_map = torch.rand(2, 5, 3, 3, generator=generator, dtype=torch.float64)
    one, other = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    both = class_activation_maps(feature_map, 2 * one - 0.5 * other)
    parts = 2 * class_activation_maps(feature_map, one) - 0.5 * class_activation_maps(feature_map, other)
    assert_same(both, parts)


def test_gauge_changes_cam_but_neither_the_answer_nor_contrast_cam() -> None:
    subject = gap()
    answer = subject.network(images()).softmax(dim=1)
    before = [method(subject, images(), LABEL, TARGET) for method in (cam, contrast_cam)]
    with torch.no_grad():
        subject.linear.weight += torch.randn(8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    after = [method(subject, images(), LABEL, TARGET) for method in (cam, contrast_cam)]
    assert_same(subject.network(images()).softmax(dim=1), answer)
    assert_same(after[1], before[1])
    assert (after[0] - before[0]).abs().amax(dim=(1, 2)).min() > 0.1


class Shuffled(nn.Module):
    """Moves every position of the maps to another place."""

    def forward(self, maps: Tensor) -> Tensor:
        order = torch.randperm(9, generator=torch.Generator().manual_seed(5))
        return maps.flatten(2)[:, :, order].unflatten(2, (3, 3))


@pytest.mark.parametrize("name", ["cam", "contrast_cam", "last_channel_cam", *OF_ANY_NETWORK[:4]])
def test_permuted_positions_permute_the_map(name: str) -> None:
    subject = gap()
    moved = Shuffled()
    body = nn.Sequential(subject.network.features, moved, nn.AdaptiveAvgPool2d(1), nn.Flatten(), subject.linear)
    shuffled = Subject(body.eval(), moved, subject.linear)
    assert_same(body(images()), subject.network(images()))
    expected = moved(METHODS[name](subject, images(), LABEL, TARGET).unsqueeze(1)).squeeze(1)
    assert_same(METHODS[name](shuffled, images(), LABEL, TARGET), expected)


# Definitions, by naive loops, at a layer that no pooling follows


@pytest.mark.parametrize("make", [gap, lenet])
@pytest.mark.parametrize("rectify", [True, False])
def test_gradient_maps_by_naive_loops(make: Callable[[], Subject], rectify: bool) -> None:
    subject = make()
    maps, gradient = maps_and_gradient(subject)
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
    assert_same(hires_cam(subject, images(), LABEL, TARGET), hires)
    for method, expected in ((grad_cam, grad), (grad_cam_pp, pp), (layer_cam, layer)):
        found = method(subject, images(), LABEL, TARGET, rectify=rectify)
        assert_same(found, expected.relu() if rectify else expected)


def test_grad_cam_pp_by_the_derivatives_of_its_score() -> None:
    """The weights as the paper defines them, by first, second and third derivatives of exp(logit) in one activation.

    The common factor exp(logit) of the weights is taken out.
    """
    subject = gap()
    maps, _ = maps_and_gradient(subject)
    expected = torch.zeros(4, 3, 3, dtype=torch.float64)
    for n, label in enumerate(LABEL):
        logit = subject.network(images()[n : n + 1])[0, label].detach()
        for k in range(8):
            weight = 0.0
            for i in range(3):
                for j in range(3):
                    more = torch.zeros((), dtype=torch.float64, requires_grad=True)
                    spot = torch.zeros(8, 3, 3, dtype=torch.float64)
                    spot[k, i, j] = 1.0
                    score = subject.linear((maps[n] + more * spot).mean(dim=(1, 2)))[label].exp()
                    (first,) = torch.autograd.grad(score, more, create_graph=True)
                    (second,) = torch.autograd.grad(first, more, create_graph=True)
                    (third,) = torch.autograd.grad(second, more)
                    alpha = second / (2 * second + maps[n, k].sum() * third)
                    weight += (alpha * first.relu() / logit.exp()).detach()
            expected[n] += weight * maps[n, k]
    assert_same(grad_cam_pp(subject, images(), LABEL, TARGET, rectify=False), expected)


def test_score_cam_by_a_naive_loop() -> None:
    subject = lenet()
    maps, _ = maps_and_gradient(subject)
    expected = torch.zeros(4, *maps.shape[2:], dtype=torch.float64)
    for n, (picture, label) in enumerate(zip(images(), LABEL, strict=True)):
        scores = []
        for channel in maps[n]:
            large = interpolate(channel[None, None], (12, 12), mode="bilinear")[0, 0]
            mask = (large - large.min()) / (large.max() - large.min())
            scores.append(subject.network((picture * mask).unsqueeze(0))[0, label].detach())
        expected[n] = (torch.stack(scores).softmax(dim=0)[:, None, None] * maps[n]).sum(dim=0)
    assert_same(score_cam(subject, images(), LABEL, TARGET, rectify=False), expected)
    assert_same(score_cam(subject, images(), LABEL, TARGET, rectify=True), expected.relu())


def test_score_cam_sees_nothing_through_a_flat_channel() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 10)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([5.0, 0.0]))
    weight = torch.stack([network(torch.zeros_like(images())), network(images() * scaled(images()))], dim=2)[
        torch.arange(4), LABEL
    ].softmax(dim=1)
    expected = weight[:, 0, None, None] * 5 + weight[:, 1, None, None] * images()[:, 0]
    found = score_cam(Subject(network, network[0]), images(), LABEL, TARGET, rectify=False)
    assert_same(found, expected.detach())


def scaled(pictures: Tensor) -> Tensor:
    low, high = pictures.amin(dim=(2, 3), keepdim=True), pictures.amax(dim=(2, 3), keepdim=True)
    return (pictures - low) / (high - low)


def test_integrated_gradients_add_up_to_what_the_logit_gains() -> None:
    """Exactly for a smooth network; of a linear one the map is weight times what was added to the pixel."""
    torch.manual_seed(6)
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(144, 10), nn.Tanh(), nn.Linear(10, 10)).double()
    maps = integrated_gradients(Subject(smooth, smooth), images(), LABEL, TARGET, baseline=0.2, steps=32)
    gain = smooth(images()) - smooth(torch.full_like(images(), 0.2))
    assert maps.shape == (4, 12, 12)
    assert_same(maps.sum(dim=(1, 2)), gain[torch.arange(4), LABEL].detach())
    linear = nn.Sequential(nn.Flatten(), nn.Linear(144, 10)).double()
    maps = integrated_gradients(Subject(linear, linear), images(), LABEL, TARGET, baseline=0.2, steps=1)
    assert_same(maps, (linear[1].weight[LABEL].reshape(4, 12, 12) * (images()[:, 0] - 0.2)).detach())


# What every explanation promises


@pytest.mark.parametrize("name", METHODS)
def test_every_image_is_explained_by_itself(name: str) -> None:
    subject, method = gap(), METHODS[name]
    together = method(subject, images(), LABEL, TARGET)
    alone = [method(subject, images()[n : n + 1], LABEL[n : n + 1], TARGET[n : n + 1]) for n in range(4)]
    assert_same(together, torch.cat(alone))
    assert not together.requires_grad
    assert together.shape == ((4, 12, 12) if name == "integrated_gradients" else (4, 3, 3))


@pytest.mark.parametrize("name", ["cam", "hires_cam", "grad_cam", "grad_cam_pp", "score_cam"])
def test_a_map_that_is_negative_everywhere_stays_so(name: str) -> None:
    """Maps A > 0 and a linear layer that speaks against every class. Grad-CAM++ and Score-CAM need A < 0 for that."""
    torch.manual_seed(7)
    sign = -1.0 if name in ("grad_cam_pp", "score_cam") else 1.0
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)).double()
    with torch.no_grad():
        network[0].weight.abs_().mul_(sign)
        network[0].bias.fill_(sign)
        network[3].weight.abs_().mul_(-sign)
    method = METHODS[name]
    if isinstance(method, partial):
        blank = method(Subject(network, network[0], network[3]), images(), LABEL, TARGET)
        assert torch.equal(blank, torch.zeros_like(blank))
        method = partial(method.func, rectify=False)
    maps = method(Subject(network, network[0], network[3]), images(), LABEL, TARGET)
    assert (maps < 0).all()
    assert (maps.amax(dim=(1, 2)) - maps.amin(dim=(1, 2)) > 1e-6).all()


class Failing(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        raise RuntimeError("broken head")


@pytest.mark.parametrize("grad", [True, False], ids=["recording", "under no_grad"])
@pytest.mark.parametrize("name", METHODS)
def test_networks_are_left_as_they_were(name: str, grad: bool) -> None:
    """Modes, statistics, weights, their .grad and hooks: also for a network that trains, and after an error."""
    subject = gap()
    subject.network.train()
    subject.network.features[0].eval()
    modes = [module.training for module in subject.network.modules()]
    state = {key: value.clone() for key, value in subject.network.state_dict().items()}
    in_use = METHODS[name](gap(), images(), LABEL, TARGET)
    with torch.set_grad_enabled(grad):
        assert_same(METHODS[name](subject, images(), LABEL, TARGET), in_use)
        head, subject.network.classifier = subject.network.classifier, Failing()
        with pytest.raises(RuntimeError, match="broken head"):
            METHODS[name](subject, images(), LABEL, TARGET)
        subject.network.classifier = head
    assert [module.training for module in subject.network.modules()] == modes
    assert not any(module._forward_hooks for module in subject.network.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in subject.network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in subject.network.state_dict().items())


@pytest.mark.parametrize("name", OF_ANY_NETWORK)
def test_frozen_weights_and_layers_followed_by_work_in_place(name: str) -> None:
    """In a ResNet's block the batch norm is followed by a ReLU in place, and another way leads around it."""
    torch.manual_seed(8)
    network = small_image_resnet18(1, 10).double().eval().requires_grad_(False)
    layer = network.layer1[1].bn1
    before = network(images())
    maps = METHODS[name](Subject(network, layer), images(), LABEL, TARGET)
    assert maps.isfinite().all()
    assert maps.abs().amax() > 0
    assert torch.equal(network(images()), before)


def test_cam_of_a_network_without_one_and_layers_without_maps_are_refused() -> None:
    without = lenet()
    for method in (cam, contrast_cam, last_channel_cam):
        with pytest.raises(UserError, match="CAM is not defined"):
            method(without, images(), LABEL, TARGET)
    with pytest.raises(UserError, match="CAM is not defined"):
        Subject.with_exact_cam(without.network, images())
    for layer in (without.network[1], nn.Conv2d(1, 1, 1)):
        with pytest.raises(UserError, match="made no maps"):
            hires_cam(Subject(without.network, layer), images(), LABEL, TARGET)


@pytest.mark.parametrize("name", METHODS)
def test_config_files_make_the_explanations(name: str) -> None:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    assert config.name == name
    method = instantiate(config.method)
    found = partial(method, gap())(images(), LABEL, TARGET)
    if name == "integrated_gradients":
        assert_same(found, METHODS[name](gap(), images(), LABEL, TARGET), tolerance=0.05)  # fewer steps there
    else:
        assert_same(found, METHODS[name](gap(), images(), LABEL, TARGET))


def test_every_config_file_is_tested() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(METHODS)


# Other people's libraries, on the same networks


@pytest.mark.parametrize("make", [gap, lenet])
def test_agrees_with_captum(make: Callable[[], Subject]) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    subject = make()
    theirs = attr.LayerGradCam(subject.network, subject.layer).attribute(images(), LABEL).squeeze(1)
    assert_same(grad_cam(subject, images(), LABEL, TARGET, rectify=False), theirs.detach(), 1e-5)
    theirs = attr.LayerGradCam(subject.network, subject.layer).attribute(images(), LABEL, relu_attributions=True)
    assert_same(grad_cam(subject, images(), LABEL, TARGET, rectify=True), theirs.squeeze(1).detach(), 1e-5)
    theirs = attr.LayerGradientXActivation(subject.network, subject.layer).attribute(images(), LABEL).sum(dim=1)
    assert_same(hires_cam(subject, images(), LABEL, TARGET), theirs.detach(), 1e-5)
    theirs = attr.IntegratedGradients(subject.network).attribute(images(), 0.1, LABEL, n_steps=20).squeeze(1)
    found = integrated_gradients(subject, images(), LABEL, TARGET, baseline=0.1, steps=20)
    assert_same(found, theirs.detach(), 1e-5)


@pytest.mark.parametrize("make", [gap, lenet])
@pytest.mark.parametrize("theirs", ["CAM", "GradCAM", "LayerCAM"])
def test_agrees_with_torchcam(make: Callable[[], Subject], theirs: str) -> None:
    """But for Grad-CAM++, whose alpha torchcam 0.5.0 divides in a copy that it throws away."""
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    ours = {"CAM": cam, "GradCAM": METHODS["grad_cam"], "LayerCAM": METHODS["layer_cam"]}[theirs]
    subject = make()
    if theirs == "CAM" and subject.linear is None:
        pytest.skip("no exact CAM")
    arguments = {"fc_layer": subject.linear} if theirs == "CAM" else {}
    with getattr(methods, theirs)(subject.network, subject.layer, **arguments) as extractor:
        scores = subject.network(images())
        (expected,) = extractor(LABEL.tolist(), scores, normalized=False)
    assert_same(ours(subject, images(), LABEL, TARGET), expected.detach(), 1e-5)


def test_score_cam_agrees_with_torchcam() -> None:
    """At a layer as large as the image: torchcam scales a channel before it enlarges it, the paper after."""
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    for network, layer in ((gap().network, "features.0"), (lenet().network, "0.0")):
        subject = Subject(network, network.get_submodule(layer))
        with methods.ScoreCAM(subject.network, subject.layer) as extractor:
            subject.network(images())
            (expected,) = extractor(LABEL.tolist(), normalized=False)
        assert_same(score_cam(subject, images(), LABEL, TARGET, rectify=True), expected.detach(), 1e-5)
