"""Is this a classifier that the rest can rely on?"""

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError

CLOSE = 1e-3
"""Share of the largest logit by which two answers to the same images may differ: sums in another order do."""

NEARLY_ALL = 0.2
"""By how much another range of the pixels must raise the accuracy to be what the network was trained on."""

SHORT_STEP = 0.005
"""L2 length of the step along a gradient on which what it promises is tried."""

AGREES_WITHIN = 0.2
"""How far from 1 the change along a gradient, as a share of what it promises, may be."""

MASKED_BELOW = 0.5
"""Share of images on which a gradient must hold what it promises, or it counts as masked."""


def check_classifier(network: nn.Module, images: Tensor, num_classes: int, name: str, trained: bool) -> None:
    """Refuse a network that doesn't map images to one logit for each class.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: what the user called it.
        trained: it comes with its weights, so that a flat response is its own and not the first weights'.

    Raises:
        UserError: it doesn't take these images, returns another shape than `(N, K)`, another type or probabilities,
            answers the same image now so and now so, or has no gradient that an attack could follow.
    """
    shape = "×".join(map(str, images.shape[1:]))
    images = images.clone().requires_grad_()
    try:
        with torch.random.fork_rng(devices=[]):
            logits = network(images)
            again, alone = network(images.detach()), network(images[:1].detach())
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
    if (logits.dtype, logits.device) != (images.dtype, images.device):
        raise UserError(
            f"{name} returns {logits.dtype} on {logits.device} for images of {images.dtype} on {images.device}.",
            "Let it compute in the type and on the device of its input, for instance after network.float().",
        )
    if not logits.isfinite().all():
        raise UserError(f"{name} returns NaN or infinity for clean images.", "Mend its weights or its layers.")
    tolerance = CLOSE * logits.abs().max().item()
    if not torch.allclose(again, logits, rtol=0, atol=tolerance):
        raise UserError(
            f"{name} answers the same images differently each time, in evaluation mode.",
            "Let its dropout and its noise end in evaluation mode: pass training=self.training where it draws.",
        )
    if not torch.allclose(alone, logits[:1], rtol=0, atol=tolerance):
        raise UserError(
            f"{name} answers an image differently alone and among {len(images)}, in evaluation mode.",
            "Let its batch norm use its running statistics: call network.eval(), or pass training=self.training.",
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
            f"{name} has no gradient with respect to its images, so that no attack of this kind can follow it.",
            "Remove torch.no_grad, detach or rounding from its forward pass.",
        )


@torch.no_grad()
def check_pixel_range(network: nn.Module, images: Tensor, labels: Tensor, name: str) -> None:
    """Refuse a trained network that was trained on pixels in another range than [0, 1].

    Args:
        network: in evaluation mode, with its weights.
        images: `(N, C, H, W)` in [0, 1]; labels: `(N,)`.
        name: what the user called it.

    Raises:
        UserError: it is right far more often when the same pixels come in another range.
    """
    deviation, mean = torch.std_mean(images)
    ranges = {
        "255 * images": 255 * images,
        "2 * images - 1": 2 * images - 1,
        f"(images - {mean:.4f}) / {deviation:.4f}": (images - mean) / deviation,
    }
    accuracy = {form: _accuracy(network, seen, labels) for form, seen in {"images": images, **ranges}.items()}
    best = max(accuracy, key=lambda form: accuracy[form])
    if accuracy[best] > accuracy["images"] + NEARLY_ALL:
        raise UserError(
            f"{name} is right on {accuracy['images']:.0%} of the validation images with pixels in [0, 1], and on "
            f"{accuracy[best]:.0%} of them as {best}.",
            f"Wrap it in a module whose forward returns network({best}).",
        )


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (network(images).argmax(dim=1) == labels).double().mean().item()


def gradient_agreement(network: nn.Module, images: Tensor) -> float:
    """The share of images on which a short step along the gradient changes a logit as the gradient promises.

    It is near 1 for a true gradient. One that is masked (rounded pixels with a gradient put in by hand, say) is far
    from it, and what follows it says little of how easily the network is fooled (Athalye et al. 2018, arXiv
    1802.00420).

    Args:
        network: in evaluation mode.
        images: `(N, C, H, W)` in [0, 1]; the logit is that of each one's answer.
    """
    # Off the borders, where a network may clip its pixels, and off the ties of even ground, where pooling has a kink.
    grain = 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    inner = (0.1 + 0.8 * images + grain).clamp(0.01, 0.99).requires_grad_()
    logits = network(inner)
    answer = logits.argmax(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(logits.gather(1, answer).sum(), inner)
    length = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
    step = SHORT_STEP * gradient / length.reshape(-1, 1, 1, 1)
    with torch.no_grad():
        ahead, behind = (network(inner + side * step).gather(1, answer).squeeze(1) for side in (1, -1))
    kept = (ahead - behind) / (2 * SHORT_STEP * length)
    return ((kept - 1).abs() < AGREES_WITHIN).double().mean().item()


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
