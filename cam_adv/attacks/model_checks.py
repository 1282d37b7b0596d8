"""Checks of the networks that an attack is given, with the first images that it attacks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cam_adv.models.checks import check_gradient, check_pixel_range
from cam_adv.models.generators.base import Generator
from cam_adv.models.output_checks import check_outputs

FEW = 8
"""Images with which networks are checked."""

MANY = 64
"""Images with which the victim's pixel range is checked."""

RANGE_GAIN = 0.5
"""Gain in the victim's accuracy with another pixel range from which attacked images show that it expects that one.
They are fewer than those of `MIN_ACCURACY_GAIN`, and may have been chosen by the victim's answer."""


def check_models(victim: nn.Module, generator: Generator | None, surrogates: Iterable[nn.Module], x: Tensor) -> int:
    """Check networks in evaluation mode with images `(N, C, H, W)` in [0, 1]; the number of classes.

    Raises:
        UserError: a network is not what an attack relies on, or they have different numbers of classes.
    """
    with _full_precision_uncompiled(x.device):
        few, classes = _with_finite_logits(victim, x[:FEW]), None
        if generator is not None:
            classes = check_outputs(generator.classify, few, None, "The generator's classifier", False).shape[1]
        logits = check_outputs(victim, few, classes, "The victim", trained=len(few) == FEW)
        # A victim that says the same of every image is a control, and its gradient is 0.
        check_gradient(victim, few, "The victim", trained=bool((logits != logits[:1]).any()))
        for number, surrogate in enumerate(surrogates, start=1):
            check_outputs(surrogate, few, logits.shape[1], f"Surrogate {number}", False)
    return logits.shape[1]


@contextmanager
def _full_precision_uncompiled(device: torch.device) -> Iterator[None]:
    """Without mixed precision, in whose type logits would be, and without compiling for so few images."""
    with torch.autocast(device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        yield


@torch.no_grad()
def _with_finite_logits(victim: nn.Module, images: Tensor) -> Tensor:
    """The images without those of which a victim says NaN, unless it does of all; an attack reports them itself."""
    try:
        finite = victim(images.clone()).isfinite().all(dim=1)
    except Exception:  # a user-defined network may do anything; `check_outputs` says what
        return images
    return images[finite] if len(finite) == len(images) and finite.any() else images


def check_victim_range(victim: nn.Module, x: Tensor, y: Tensor) -> None:
    """Check by images of known classes y `(N,)`, if there are enough, that a victim expects pixels in [0, 1].

    Raises:
        UserError: it classifies nearly all of them correctly in another pixel range only.
    """
    if len(x) >= FEW:
        with _full_precision_uncompiled(x.device):
            check_pixel_range(victim, x[:MANY], y[:MANY], "The victim", RANGE_GAIN, in_config=False)
