"""Is this a classifier that the rest can rely on?"""

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError


def check_classifier(network: nn.Module, images: Tensor, num_classes: int, name: str, trained: bool) -> None:
    """Refuse a network that doesn't map images to one logit for each class.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: what the user called it.
        trained: it comes with its weights, so that a flat response is its own and not the first weights'.

    Raises:
        UserError: it doesn't take these images, returns another shape than `(N, K)` or probabilities, or has no
            gradient that an attack could follow.
    """
    shape = "×".join(map(str, images.shape[1:]))
    images = images.clone().requires_grad_()
    try:
        logits = network(images)
    except Exception as error:  # any network of the user's own may fail in any way
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
    if not logits.isfinite().all():
        raise UserError(f"{name} returns NaN or infinity for clean images.", "Mend its weights or its layers.")
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
            f"{name} has no gradient with respect to its images, so that no attack of this kind can follow it.",
            "Remove torch.no_grad, detach or rounding from its forward pass.",
        )


@torch.no_grad()
def check_generator(network: nn.Module, images: Tensor, num_classes: int, name: str) -> None:
    """Refuse a network that is no supervised VAE of these images.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: what the user called it.

    Raises:
        UserError: it doesn't encode, generate, classify and discriminate as `SVAE` does.
    """
    try:
        codes = network.encode(images).mean
        shapes = network.generate(codes).shape, network.classifier(codes).shape, network.discriminator(codes).shape
    except Exception as error:  # any network of the user's own may fail in any way
        raise UserError(
            f"{name} is no supervised VAE of these images: {type(error).__name__}: {error}.",
            "Give one with encode, generate, decoder, classifier and discriminator, as cam_adv.networks.svae.SVAE.",
        ) from error
    expected = (images.shape, (len(images), num_classes), (len(images), 1))
    if any(tuple(got) != tuple(wanted) for got, wanted in zip(shapes, expected, strict=True)):
        raise UserError(
            f"{name} gives pictures, classes and verdicts of shapes {', '.join(str(tuple(got)) for got in shapes)}.",
            f"Make them {', '.join(str(tuple(wanted)) for wanted in expected)}.",
        )
