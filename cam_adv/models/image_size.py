"""The size of images that the networks of this package take."""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.output_checks import WHERE_SET

SMALLEST_SIDE = 16
"""In pixels: from here on every network of this package takes images."""


def check_image_size(build: Callable[[], nn.Module], shape: tuple[int, int, int], name: str) -> None:
    """Refuse images that are too small for a network of this package; others are checked by what they return.

    Args:
        build: makes the network.
        shape: `(C, H, W)` of an image.
        name: of the network's class or function, for the message.

    Raises:
        UserError: it can't be made for such images, or fails on them.
    """
    if min(shape[1:]) >= SMALLEST_SIDE or not name.startswith("cam_adv."):
        return
    images = torch.zeros(2, *shape)
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, about layers of no size
            network = build().eval()
            if isinstance(network, PretrainedGenerator):  # its decoder is the user's
                return
            if isinstance(network, Generator):
                network.decode(network.encode(images).mean)
            else:
                network(images)
    except UserError:
        raise
    except Exception as error:  # of many types, by the layer that has nothing left to work on
        raise UserError(
            f"{name} can't take images of {shape[1]}×{shape[2]} pixels: they are too small.",
            f"Set dataset.size to {SMALLEST_SIDE} or more {WHERE_SET}, or choose another network.",
        ) from error
