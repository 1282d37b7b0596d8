"""Checks of classifiers before they are attacked or trained: outputs, gradients and pixel ranges."""

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.modes import eval_mode, gradients_enabled, without_history
from cam_adv.models.normalized import Normalized
from cam_adv.models.output_checks import check_outputs, described

MIN_ACCURACY_GAIN = 0.2
"""Gain in accuracy with another pixel range from which that range is taken for the one used in training."""

FINITE_DIFFERENCE_STEP = 0.005
"""L2 length of the step along a gradient, in each direction, for the finite difference."""

AGREEMENT_TOLERANCE = 0.2
"""Allowed deviation from 1 of the ratio of the finite difference to the gradient's norm."""

MASKED_BELOW = 0.5
"""Share of images with agreement between gradient and finite difference below which the gradient counts as masked."""


def check_classifier(network: nn.Module, images: Tensor, num_classes: int, name: str, trained: bool) -> None:
    """Check that a network maps images to one logit for each class, and that it can be attacked.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: for the messages, as the user configured it.
        trained: the network has its final weights, so that a constant output is not due to the initial weights.

    Raises:
        UserError: see `check_outputs` and `check_gradient`.
    """
    check_outputs(network, images, num_classes, name, trained)
    check_gradient(network, images, name, trained)


def check_gradient(network: nn.Module, images: Tensor, name: str, trained: bool) -> None:
    """Check that logits have a gradient with respect to the images; args as `check_classifier`.

    Raises:
        UserError: they have none, or one of 0 in a trained network.
    """
    gradient = None
    with gradients_enabled(), torch.random.fork_rng(devices=[]):
        leaf = without_history(images).clone().requires_grad_()
        logits = network(leaf)
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf, allow_unused=True)
    if gradient is None or (trained and not gradient.any()):
        raise UserError(
            f"{name} has no gradient with respect to its images, which attacks by gradients need.",
            "Remove torch.no_grad, detach or rounding from its forward pass.",
        )


def check_trainable(network: nn.Module, images: Tensor, num_classes: int, name: str) -> None:
    """Check a network in training mode, in which it may do something else; it stays as it was.

    Args:
        network, images, num_classes, name: see `check_classifier`.

    Raises:
        UserError: it fails; returns something else than logits `(N, K)`; or no weight has a gradient.
    """
    with eval_mode(network), gradients_enabled(), torch.random.fork_rng(devices=[]):
        network.train()
        statistics = [(buffer, buffer.clone()) for buffer in network.buffers()]
        try:
            logits = network(images.clone())
        except Exception as error:  # a user-defined network may raise anything
            raise UserError(
                f"{name} fails in training mode: {type(error).__name__}: {error}.",
                "Correct its forward pass; network.train()(images) shows the error.",
            ) from error
        finally:
            with torch.no_grad():
                for buffer, before in statistics:
                    buffer.copy_(before)
    if not isinstance(logits, Tensor) or logits.shape != (len(images), num_classes):
        raise UserError(
            f"{name} returns {described(logits)} in training mode, not the logits {(len(images), num_classes)}.",
            "Make it return the logits alone, and switch off its auxiliary outputs.",
        )
    if not logits.requires_grad:
        raise UserError(
            f"{name} has no weights that can be trained: none that its logits depend on requires a gradient.",
            "Call requires_grad_(True) on those to be trained, or use a trained victim as it is with "
            "model.victim.training=null.",
        )


@torch.no_grad()
def check_pixel_range(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    name: str,
    gain: float = MIN_ACCURACY_GAIN,
    in_config: bool = True,
) -> None:
    """Check that a trained network expects pixels in [0, 1], or as its mean and std make them, not in another range.

    Args:
        network: in evaluation mode, with its weights.
        images: `(N, C, H, W)` in [0, 1]; labels: `(N,)`.
        name: for the messages, as the user configured it.
        gain: see `MIN_ACCURACY_GAIN`.
        in_config: the network is a config's, so that the remedy is a setting.

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
    accuracy = {"images": _accuracy(network, images, labels)}
    for form, (shift, scale) in normalised.items():
        try:
            accuracy[form] = _accuracy(inner, (images - shift) / scale, labels)
        except Exception:  # a network may refuse other pixels, and so does not expect them
            continue
    best = max(accuracy, key=lambda form: accuracy[form])
    if accuracy[best] > accuracy["images"] + gain:
        means, stds = (f"[{','.join([f'{value:.4g}'] * channels)}]" for value in normalised[best])
        setting = (
            f"Set model.victim.mean={means} and model.victim.std={stds}"
            if in_config
            else f"Give cam_adv.models.normalized.Normalized(network, mean={means}, std={stds})"
        )
        raise UserError(
            f"{name} is right on {accuracy['images']:.0%} of the {'validation ' if in_config else ''}images with "
            f"pixels {given}, and on {accuracy[best]:.0%} of them as {best}.",
            f"{setting}, or the values that it was trained with.",
        )


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (network(images).argmax(dim=1) == labels).double().mean().item()


@gradients_enabled()
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
