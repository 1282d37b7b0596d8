"""Checks of the images and labels that an attack, a judge or an explanation is given."""

import torch
from torch import Tensor

from cam_adv.errors import UserError

OVERSHOOT = 0.5
"""How far a pixel may lie outside its range, in units of its width: networks without a sigmoid overshoot a little."""


def check_images(images: Tensor) -> None:
    """Check images `(N, C, H, W)` in [0, 1].

    Raises:
        UserError: there are none; they have other dimensions, another type, NaN or infinity, or pixels outside.
    """
    if images.dim() != 4 or 0 in images.shape:
        raise UserError(
            f"The images have the shape {tuple(images.shape)}.",
            "Give one or more images as a tensor (N, C, H, W); a single one x as x.unsqueeze(0).",
        )
    if not images.is_floating_point():
        raise UserError(
            f"The images are {images.dtype}, but pixels in [0, 1] are floating-point numbers.",
            "Divide 8-bit pixels by 255.",
        )
    if not images.isfinite().all():
        raise UserError("The images have pixels that are NaN or infinite.", "Leave these images out, or mend them.")
    check_pixels(images)


def check_pixels(images: Tensor, overshoot: float = 0.0) -> None:
    """Check that the finite pixels of images are in [0, 1].

    Args:
        images: `(N, C, H, W)`, of a floating-point type.
        overshoot: how far they may lie outside, since generators draw a little beyond.

    Raises:
        UserError: some are further outside.
    """
    low, high = (limit.item() for limit in images.nan_to_num(0.0, 0.0, 0.0).flatten().aminmax())
    if low < -overshoot:
        raise UserError(
            f"The images have pixels outside [0, 1]: the lowest is {low:.3g}.",
            "Give them before their normalisation, and the network behind cam_adv.models.normalized.Normalized.",
        )
    if high > 1 + overshoot:
        raise UserError(
            f"The images have pixels outside [0, 1]: the highest is {high:.3g}.", "Divide 8-bit pixels by 255."
        )


def check_labels(labels: Tensor, count: int, num_classes: int, name: str) -> None:
    """Check the classes of images.

    Args:
        labels: `(count,)` int64 in [0, num_classes).
        count: number of images.
        name: for the messages, such as "The label".

    Raises:
        UserError: they have another shape or type, or name a class that there isn't.
    """
    if labels.dim() != 1 and tuple(labels.shape) == (count, num_classes):
        raise UserError(
            f"{name} has the shape {tuple(labels.shape)}, one number for each class.",
            "Give the numbers of the classes (N,): labels.argmax(dim=1).",
        )
    if tuple(labels.shape) != (count,):
        raise UserError(
            f"{name} has the shape {tuple(labels.shape)}, but there are {count} images.",
            "Give the number of each image's class, as a tensor (N,).",
        )
    if labels.dtype != torch.int64:
        raise UserError(
            f"{name} is {labels.dtype}, but numbers of classes are torch.int64.", "Convert them: labels.long()."
        )
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise UserError(
            f"{name} names class {int(wrong[0])}, but there are {num_classes} classes.",
            f"Give classes from 0 to {num_classes - 1}, and networks of as many classes as the labels have.",
        )
