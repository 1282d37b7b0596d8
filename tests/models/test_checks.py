"""Checks of classifiers: invalid outputs, masked gradients and pixel ranges."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from conftest import CommandResult
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.checks import (
    check_classifier,
    check_pixel_range,
    check_trainable,
    finite_difference_agreement,
)
from cam_adv.models.normalized import Normalized
from cam_adv.models.victims import MLP, GapCNN, LeNet

IMAGES = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Wrapped(nn.Module):
    """A valid network with changes to its input and its output."""

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = MLP(1, 3, (16, 16), hidden=8).eval()
        self.before, self.after = before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))


class RoundedPixels(torch.autograd.Function):
    """Eight levels of gray with the identity as gradient: a masked gradient."""

    @staticmethod
    def forward(context: object, images: Tensor) -> Tensor:
        return (7 * images).round() / 7

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient


def in_training(network: nn.Module, change: Callable[[Tensor], object]) -> nn.Module:
    """The network with another output in training mode."""

    class WithAuxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> object:
            logits = self.network(images)
            return change(logits) if self.training else logits

    return WithAuxiliary()


class BatchNormInTraining(nn.Module):
    """Batch norm that was left in training mode."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.network = nn.BatchNorm2d(1), MLP(1, 3, (16, 16), hidden=8)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(nn.functional.batch_norm(images, None, None, training=True))


class SqueezedGap(nn.Module):
    """Global average pooling, and then all dimensions of size 1 removed."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(nn.functional.adaptive_avg_pool2d(self.features(images), 1).squeeze())


INVALID = {
    "probabilities": (Wrapped(after=lambda logits: logits.softmax(dim=1)), "probabilities, not logits", "softmax"),
    "a class too few": (Wrapped(after=lambda logits: logits[:, :2]), r"returns \(8, 2\) for 8 images", "3 logits"),
    "one logit for all": (Wrapped(after=lambda logits: logits.mean(dim=0)), r"returns \(3,\)", "3 logits"),
    "no tensor": (Wrapped(after=lambda logits: {"logits": logits}), "returns dict", "3 logits"),
    "doubles": (Wrapped(after=lambda logits: logits.double()), "torch.float64", r"network.float\(\)"),
    "halves": (Wrapped(after=lambda logits: logits.half()), "torch.float16", r"network.float\(\)"),
    "another device": (Wrapped(after=lambda logits: logits.to("meta")), "on meta for images", "on the device"),
    "NaN": (Wrapped(after=lambda logits: logits * torch.nan), "NaN or infinity", "Correct"),
    "infinity": (Wrapped(after=lambda logits: logits / 0), "NaN or infinity", "Correct"),
    "dropout": (
        Wrapped(before=lambda images: nn.functional.dropout(images)),
        "differently each time",
        "self.training",
    ),
    "noise": (Wrapped(after=lambda logits: logits + torch.randn_like(logits)), "differently each time", "its noise"),
    "batch norm in training": (BatchNormInTraining(), "differently alone and among 8", r"network.eval\(\)"),
    "a mean over the batch": (
        Wrapped(after=lambda logits: logits - logits.mean(dim=0)),
        "alone and among",
        "running",
    ),
    "no gradient": (Wrapped(after=lambda logits: logits.detach()), "no gradient", "torch.no_grad"),
    "rounding": (Wrapped(before=lambda images: (7 * images).round() / 7), "no gradient", "rounding"),
    "an argmax": (
        Wrapped(after=lambda logits: nn.functional.one_hot(logits.argmax(dim=1), 3).float()),
        "probabilities|no gradient",
        "softmax|rounding",
    ),
    "squeezed logits": (Wrapped(after=lambda logits: logits.squeeze()), r"\(3,\) for a batch of 1", "squeeze"),
    "squeezed features": (SqueezedGap(), r"for a batch of 1", "squeeze"),
    "batches of eight": (Wrapped(after=lambda logits: logits.view(8, 3)), "fails on a batch of 1", "any size"),
    "even batches": (
        Wrapped(before=lambda images: images[: len(images) // 2 * 2] if len(images) > 1 else images),
        "for a batch of 7",
        "any size",
    ),
    "changed images": (Wrapped(before=lambda images: images.data.mul_(0.5)), "changes the images", "new ones"),
    "changed in place": (Wrapped(before=lambda images: images.sub_(0.5)), "changes the images", "images - 0.5"),
    "a ReLU in place on the images": (Wrapped(before=nn.ReLU(inplace=True)), "changes the images", "in-place"),
    "another image size": (
        Wrapped(before=lambda images: images[:, :, :8]),
        "fails on images of 1×16×16",
        "1, 16, 16",
    ),
    "colour": (nn.Sequential(nn.Conv2d(3, 3, 16), nn.Flatten()), "fails on images of 1×16×16", "takes images"),
}


@pytest.mark.parametrize("name", INVALID)
def test_check_classifier_invalid_network_raises(name: str) -> None:
    network, what, remedy = INVALID[name]
    with pytest.raises(UserError) as refusal:
        check_classifier(network.eval(), IMAGES, 3, "mine.Net", trained=True)
    assert refusal.value.what.startswith("mine.Net ")
    assert re.search(what, refusal.value.what)
    assert re.search(remedy, refusal.value.remedy)


@pytest.mark.parametrize(
    "network",
    [
        Wrapped(),
        LeNet(1, 3, (16, 16)),
        GapCNN(1, 3, (4, 8, 12)),
        Wrapped(after=lambda logits: 1e4 * logits),
        Wrapped(after=lambda logits: logits.log_softmax(dim=1)),
    ],
)
def test_check_classifier_accepts_valid_network(network: nn.Module) -> None:
    state = torch.get_rng_state()
    check_classifier(network.eval(), IMAGES, 3, "mine.Net", trained=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert finite_difference_agreement(network, IMAGES) == 1


class WithUnusedWeights(nn.Module):
    """Those that its logits depend on are frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.unused = MLP(1, 3, (16, 16), 8).requires_grad_(False), nn.Linear(1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


UNTRAINABLE = {
    "all weights frozen": (MLP(1, 3, (16, 16), 8).requires_grad_(False), "no weights that can be trained", "=null"),
    "no weights": (nn.Sequential(nn.AvgPool2d((16, 5)), nn.Flatten()), "no weights", "=null"),
    "only unused weights": (
        WithUnusedWeights(),
        "no weights",
        "=null",
    ),
    "auxiliary logits": (
        in_training(LeNet(1, 3, (16, 16)), lambda out: (out, out)),
        "tuple in training",
        "auxiliary",
    ),
    "failing": (
        in_training(LeNet(1, 3, (16, 16)), lambda out: out[9]),
        "fails in training mode: IndexError",
        "train",
    ),
}


@pytest.mark.parametrize("name", UNTRAINABLE)
def test_check_trainable_refuses_what_no_training_can_change(name: str) -> None:
    network, what, remedy = UNTRAINABLE[name]
    check_classifier(network.eval(), IMAGES, 3, "mine.Net", trained=False)
    with pytest.raises(UserError, match=f"mine.Net .*{what}") as refusal:
        check_trainable(network, IMAGES, 3, "mine.Net")
    assert remedy in refusal.value.remedy


def test_check_trainable_accepts_half_frozen_network_and_leaves_it_as_it_was() -> None:
    network = GapCNN(1, 3, (4, 8, 12)).eval()
    network.features.requires_grad_(False)
    network.features[0].train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    modes, draws = [part.training for part in network.modules()], torch.get_rng_state()
    check_trainable(network, IMAGES, 3, "mine.Net")
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    assert torch.equal(torch.get_rng_state(), draws)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_where_gradients_are_off(mode: Callable[[], AbstractContextManager[None]]) -> None:
    network = Wrapped()
    with mode():
        check_classifier(network, IMAGES + 0, 3, "mine.Net", trained=True)
        check_trainable(network, IMAGES + 0, 3, "mine.Net")
        assert finite_difference_agreement(network, IMAGES + 0) == 1


def test_finite_difference_agreement_of_masked_gradient_is_low() -> None:
    network = Wrapped(before=RoundedPixels.apply)
    check_classifier(network, IMAGES, 3, "mine.Net", trained=True)  # it has a gradient, but not its own
    assert finite_difference_agreement(network, IMAGES) < 0.5


class MaskedGapCNN(GapCNN):
    """The tiny victim with such rounding of its input."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, (4, 8, 12))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(RoundedPixels.apply(images))


@pytest.mark.slow
def test_command_reports_masked_victim(command: Callable[..., CommandResult], tiny: list[str]) -> None:
    own = ["model/victim=own", f"model.victim.network._target_={__name__}.MaskedGapCNN", "hydra.run.dir=run"]
    answer = command(*[override for override in tiny if "widths" not in override], *own)
    assert answer.code == 0, answer.err
    assert "The victim's gradient is masked" in answer.out
    assert "says little about the robustness of this victim" in answer.out


@pytest.mark.parametrize(
    ("expects", "named", "remedy"),
    [
        (lambda x: x / 255, "255 * images", "model.victim.mean=[0] and model.victim.std=[0.003922]"),
        (lambda x: (x + 1) / 2, "2 * images - 1", "model.victim.mean=[0.5] and model.victim.std=[0.5]"),
        (lambda x: x, None, ""),
    ],
)
def test_check_pixel_range_detects_other_range(
    expects: Callable[[Tensor], Tensor], named: str | None, remedy: str
) -> None:
    """A classifier of dark and bright images that is always right if the pixels are in the range that it expects."""
    labels = torch.arange(40) % 2
    images = (0.3 + 0.4 * labels)[:, None, None, None] + 0.05 * torch.rand(40, 1, 4, 4)

    class BrightnessClassifier(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            mean = expects(batch).mean(dim=(1, 2, 3))
            return torch.stack([(mean - 0.3).abs(), (mean - 0.7).abs()], dim=1).neg()

    if named is None:
        check_pixel_range(BrightnessClassifier(), images, labels, "mine.Net")
    else:
        with pytest.raises(UserError, match="is right on 50% of the validation images") as refusal:
            check_pixel_range(BrightnessClassifier(), images, labels, "mine.Net")
        assert f"100% of them as {named}." in refusal.value.what
        assert refusal.value.remedy == f"Set {remedy}, or the values that it was trained with."


def test_check_pixel_range_names_what_to_set_in_place_of_a_wrong_normalisation() -> None:
    """A network of pixels in [-1, 1] that was given the mean and std of pixels in [0, 255]."""
    labels = torch.arange(40) % 2
    images = (0.3 + 0.4 * labels)[:, None, None, None] + 0.05 * torch.rand(40, 1, 4, 4)

    class Balance(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            mean = batch.mean(dim=(1, 2, 3))
            return torch.stack([(mean + 0.4).abs(), (mean - 0.4).abs()], dim=1).neg()

    check_pixel_range(Normalized(Balance(), [0.5], [0.5]), images, labels, "mine.Net")
    with pytest.raises(UserError, match="50% of the validation images with pixels as set up") as refusal:
        check_pixel_range(Normalized(Balance(), [0], [1 / 255]), images, labels, "mine.Net")
    assert refusal.value.remedy.startswith("Set model.victim.mean=[0.5] and model.victim.std=[0.5]")
