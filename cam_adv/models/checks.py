"""Checks of classifiers before they are used: shapes, ranges, determinism and gradients."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.normalized import Normalized

RELATIVE_TOLERANCE = 1e-3
"""Allowed difference of logits for the same images, relative to the largest logit: the order of summation varies."""

MIN_ACCURACY_GAIN = 0.2
"""Gain in accuracy with another pixel range from which that range is taken for the one used in training."""

FINITE_DIFFERENCE_STEP = 0.005
"""L2 length of the step along a gradient, in each direction, for the finite difference."""

AGREEMENT_TOLERANCE = 0.2
"""Allowed deviation from 1 of the ratio of the finite difference to the gradient's norm."""

MASKED_BELOW = 0.5
"""Share of images with agreement between gradient and finite difference below which the gradient counts as masked."""

WHERE_SET = "where the dataset has this key (image_folder, torchvision, hugging_face)"
"""Of dataset.gray and dataset.size, in remedies."""


def check_classifier(network: nn.Module, images: Tensor, num_classes: int, name: str, trained: bool) -> None:
    """Check that a network maps images to one logit for each class.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: for the messages, as the user configured it.
        trained: the network has its final weights, so that a constant output is not due to the initial weights.

    Raises:
        UserError: the network fails on these images; returns another shape than `(N, K)`, another type or device, NaN
            or probabilities; is not deterministic in eval mode; gives logits that depend on the other images of the
            batch; or has no gradient with respect to the images.
    """
    shape = "×".join(map(str, images.shape[1:]))
    images = images.clone().requires_grad_()
    try:
        with torch.random.fork_rng(devices=[]):
            logits = network(images)
            again, alone = network(images.detach()), network(images[:1].detach())
    except Exception as error:  # a user-defined network may raise anything
        raise UserError(
            f"{name} fails on images of {shape}: {type(error).__name__}: {error}.",
            f"Give a network that takes images (N, {shape.replace('×', ', ')}) in [0, 1].",
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (len(images), num_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"{name} returns {got} for {len(images)} images, but the dataset has {num_classes} classes.",
            f"Make its last layer return {num_classes} logits for each image.",
        )
    if (logits.dtype, logits.device) != (images.dtype, images.device):
        raise UserError(
            f"{name} returns {logits.dtype} on {logits.device} for images of {images.dtype} on {images.device}.",
            "Make it compute in the type and on the device of its input, for instance after network.float().",
        )
    if not logits.isfinite().all():
        raise UserError(f"{name} returns NaN or infinity for clean images.", "Correct its weights or its layers.")
    tolerance = RELATIVE_TOLERANCE * logits.abs().max().item()
    if not torch.allclose(again, logits, rtol=0, atol=tolerance):
        raise UserError(
            f"{name} classifies the same images differently each time, in evaluation mode.",
            "Switch off its dropout and its noise in evaluation mode: pass training=self.training where it draws.",
        )
    if not torch.allclose(alone, logits[:1], rtol=0, atol=tolerance):
        raise UserError(
            f"{name} classifies an image differently alone and among {len(images)}, in evaluation mode.",
            "Make its batch norm use its running statistics: call network.eval(), or pass training=self.training.",
        )
    sums_to_one = torch.allclose(logits.sum(dim=1), torch.ones(len(images)), atol=1e-4)
    if (logits >= 0).all() and (sums_to_one or (trained and (logits <= 1).all())):
        raise UserError(
            f"{name} returns probabilities, not logits.",
            "Remove the softmax at its end: the loss applies it.",
        )
    gradient = None
    if logits.requires_grad:
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), images, allow_unused=True)
    if gradient is None or (trained and not gradient.any()):
        raise UserError(
            f"{name} has no gradient with respect to its images, which attacks by gradients need.",
            "Remove torch.no_grad, detach or rounding from its forward pass.",
        )


@torch.no_grad()
def check_channels(network: Callable[[Tensor], object], images: Tensor, name: str) -> None:
    """Refuse a network that fails on these images, but not on the same with three channels for one, or one for three.

    Args:
        network: in evaluation mode, or a function of one.
        images: a few images `(N, C, H, W)`.
        name: for the messages, as the user configured it.

    Raises:
        UserError: with the number of channels that it reads, and how to give it such images.
    """
    channels = images.shape[1]
    other = images.expand(-1, 3, -1, -1) if channels == 1 else images.mean(dim=1, keepdim=True)
    with torch.random.fork_rng(devices=[]):
        if failure(network, images) and not failure(network, other):
            gray = "false" if channels == 1 else "true"
            raise UserError(
                f"{name} reads images of {other.shape[1]} channels, but those of the dataset have {channels}.",
                f"Use dataset.gray={gray} {WHERE_SET}, or a network that takes in_channels.",
            )


def failure(function: Callable[[Tensor], object], inputs: Tensor) -> Exception | None:
    """What a function of a user's network raises for these inputs, None if nothing."""
    try:
        function(inputs)
    except Exception as error:  # a user-defined network may raise anything
        return error
    return None


@torch.no_grad()
def check_pixel_range(network: nn.Module, images: Tensor, labels: Tensor, name: str) -> None:
    """Check that a trained network expects pixels in [0, 1], or as its mean and std make them, not in another range.

    Args:
        network: in evaluation mode, with its weights.
        images: `(N, C, H, W)` in [0, 1]; labels: `(N,)`.
        name: for the messages, as the user configured it.

    Raises:
        UserError: its accuracy is much higher with the same pixels in another range.
    """
    channels = images.shape[1]
    std, mean = (float(value) for value in torch.std_mean(images))
    normalised = {
        "255 * images": (0.0, 1 / 255),
        "2 * images - 1": (0.5, 0.5),
        f"(images - {mean:.4f}) / {std:.4f}": (mean, std),
    }
    inner, given = (network, "in [0, 1]") if not isinstance(network, Normalized) else (network.network, "as set up")
    accuracy = {form: _accuracy(inner, (images - m) / s, labels) for form, (m, s) in normalised.items()}
    accuracy["images"] = _accuracy(network, images, labels)
    best = max(accuracy, key=lambda form: accuracy[form])
    if accuracy[best] > accuracy["images"] + MIN_ACCURACY_GAIN:
        keys = zip(("mean", "std"), normalised[best], strict=True)
        values = (f"model.victim.{key}=[{','.join([f'{value:.4g}'] * channels)}]" for key, value in keys)
        raise UserError(
            f"{name} is right on {accuracy['images']:.0%} of the validation images with pixels {given}, and on "
            f"{accuracy[best]:.0%} of them as {best}.",
            f"Set {' and '.join(values)}, or the values that it was trained with.",
        )


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (network(images).argmax(dim=1) == labels).double().mean().item()


def finite_difference_agreement(network: nn.Module, images: Tensor) -> float:
    """The share of images on which a finite difference along the gradient agrees with the gradient's norm.

    It is near 1 for a correct gradient and much lower for a masked one (of rounded pixels with a hand-made gradient,
    for example). The success of gradient-based attacks then says little about the robustness of the network (Athalye
    et al. 2018, arXiv 1802.00420).

    Args:
        network: in evaluation mode.
        images: `(N, C, H, W)` in [0, 1]; the logit is that of each image's predicted class.
    """
    # Away from 0 and 1, where a network may clip pixels, and without ties, at which pooling is not differentiable.
    noise = 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    inner = (0.1 + 0.8 * images + noise).clamp(0.01, 0.99).requires_grad_()
    logits = network(inner)
    predicted = logits.argmax(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(logits.gather(1, predicted).sum(), inner)
    norm = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
    step = FINITE_DIFFERENCE_STEP * gradient / norm.reshape(-1, 1, 1, 1)
    with torch.no_grad():
        ahead, behind = (network(inner + side * step).gather(1, predicted).squeeze(1) for side in (1, -1))
    ratio = (ahead - behind) / (2 * FINITE_DIFFERENCE_STEP * norm)
    return ((ratio - 1).abs() < AGREEMENT_TOLERANCE).double().mean().item()
