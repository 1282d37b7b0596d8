"""Is this a classifier that the rest can rely on?"""

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError


@torch.no_grad()
def check_classifier(network: nn.Module, images: Tensor, num_classes: int, name: str) -> None:
    """Refuse a network that doesn't map images to one logit for each class.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: what the user called it.

    Raises:
        UserError: it doesn't take these images, returns another shape than `(N, K)`, or probabilities.
    """
    shape = "×".join(map(str, images.shape[1:]))
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
    if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), torch.ones(len(images)), atol=1e-4):
        raise UserError(
            f"{name} returns probabilities, not logits.",
            "Remove the softmax at its end: the loss applies it.",
        )
