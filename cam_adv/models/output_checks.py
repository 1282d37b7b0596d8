"""Checks of what classifiers put out: shapes, types, values, and that they are functions of each image alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.models.modes import gradients_enabled, without_history

RELATIVE_TOLERANCE = 1e-3
"""Allowed difference of logits for the same images, relative to the largest logit: the order of summation varies."""

WHERE_SET = "where the dataset has this key (image_folder, torchvision, hugging_face)"
"""Of dataset.gray and dataset.size, in remedies."""


def check_outputs(
    network: Callable[[Tensor], object], images: Tensor, num_classes: int | None, name: str, trained: bool = True
) -> Tensor:
    """Check that a network maps each image to logits, by itself and always in the same way.

    Args:
        network: in evaluation mode, or a function of one.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K; None: any number.
        name: for the messages, as the user configured it.
        trained: see `cam_adv.models.checks.check_classifier`.

    Returns:
        The logits `(N, K)`.

    Raises:
        UserError: the network fails on these images, or on fewer of them; changes them; returns another shape than
            `(N, K)`, another type or device, NaN or probabilities; is not deterministic in eval mode; or gives logits
            that depend on the other images of the batch.
    """
    shape = "×".join(map(str, images.shape[1:]))
    with gradients_enabled(), torch.random.fork_rng(devices=[]):
        images = without_history(images)
        given = images.clone()
        version = given._version
        try:
            found = network(given)
            again = network(images.clone())
        except Exception as error:  # a user-defined network may raise anything
            raise UserError(
                f"{name} fails on images of {shape}: {type(error).__name__}: {error}.",
                f"Give a network that takes images (N, {shape.replace('×', ', ')}) in [0, 1].",
            ) from error
        if given._version != version or not torch.equal(given, images):
            raise UserError(
                f"{name} changes the images that it is given.",
                "Make it compute new ones: images = images - 0.5, not images -= 0.5, and no in-place layer first.",
            )
        logits = _check_shape(found, len(images), num_classes, name)
        if (logits.dtype, logits.device) != (images.dtype, images.device):
            raise UserError(
                f"{name} returns {logits.dtype} on {logits.device} for images of {images.dtype} on {images.device}.",
                "Make it compute in the type and on the device of its input, for instance after network.float().",
            )
        if not logits.isfinite().all():
            raise UserError(f"{name} returns NaN or infinity for clean images.", "Correct its weights or its layers.")
        if not isinstance(again, Tensor) or not _is_close(again, logits):
            raise UserError(
                f"{name} classifies the same images differently each time, in evaluation mode.",
                "Switch off its dropout and its noise in evaluation mode: pass training=self.training where it "
                "draws.",
            )
        _check_other_batches(network, images, logits, name)
    differ = (logits != logits[:1]).any()  # a constant output is no sign of probabilities
    _check_are_logits(logits, name, are_shares=trained and bool(differ and (logits <= 1).all()))
    return logits


def check_logits(logits: object, count: int, num_classes: int | None, name: str) -> Tensor:
    """Check one output of a network: the same logits `(count, K)`.

    Args:
        num_classes, name: see `check_outputs`.

    Raises:
        UserError: they have another shape or type, or are probabilities.
    """
    checked = _check_shape(logits, count, num_classes, name)
    _check_are_logits(checked, name)
    return checked


def described(output: object) -> tuple[int, ...] | str:
    """What a network returned, for messages: a shape, or a type."""
    return tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__


def _check_shape(logits: object, count: int, num_classes: int | None, name: str) -> Tensor:
    classes = "more than one class" if num_classes is None else f"{num_classes} classes"
    if isinstance(logits, Tensor) and logits.dim() == 2:
        fits = logits.shape[1] > 1 if num_classes is None else logits.shape[1] == num_classes
        if fits and len(logits) == count:
            return logits
    raise UserError(
        f"{name} returns {described(logits)} for {count} images, but the dataset has {classes}.",
        f"Make it return one tensor (N, K), whose last layer gives {num_classes or 'K'} logits for each image.",
    )


def _check_other_batches(network: Callable[[Tensor], object], images: Tensor, logits: Tensor, name: str) -> None:
    """Batches of one and of another size, as attacks have them once some images are done."""
    count = len(images)
    for index in ([0], list(range(1, count)) or [0, 0]):
        batch, remedy = len(index), "Make it take batches of any size, 1 included: flatten(1) in place of squeeze()."
        try:
            found = network(images[index])
        except Exception as error:  # a user-defined network may raise anything
            raise UserError(
                f"{name} fails on a batch of {batch}, but not of {count} images: {type(error).__name__}: {error}.",
                remedy,
            ) from error
        if not isinstance(found, Tensor) or found.shape != logits[index].shape:
            wanted = tuple(logits[index].shape)
            raise UserError(f"{name} returns {described(found)} for a batch of {batch}, not {wanted}.", remedy)
        if not _is_close(found, logits[index]):
            raise UserError(
                f"{name} classifies an image differently {'alone' if batch == 1 else f'among {batch}'} and among "
                f"{count}, in evaluation mode.",
                "Make its batch norm use its running statistics: call network.eval(), or pass "
                "training=self.training.",
            )


def _check_are_logits(logits: Tensor, name: str, are_shares: bool = False) -> None:
    sums_to_one = torch.allclose(logits.sum(dim=1), logits.new_ones(len(logits)), atol=1e-4)
    if (logits >= 0).all() and (sums_to_one or are_shares):
        raise UserError(
            f"{name} returns probabilities, not logits.",
            "Remove the softmax at its end: the loss applies it.",
        )


def _is_close(found: Tensor, logits: Tensor) -> bool:
    return torch.allclose(found, logits, rtol=0, atol=RELATIVE_TOLERANCE * logits.abs().max().item())


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
