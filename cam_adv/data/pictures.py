"""Pictures of any size and mode as images of one size with 8 bits a channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cam_adv.errors import UserError, config_text
from cam_adv.schema.dataset import Background

GRAY_LEVELS: dict[Background, int] = {"white": 255, "black": 0}

GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of pictures with one channel, with or without transparency."""

FULL_16_BITS = ("PNG", "PPM")
"""Formats that Pillow opens in the mode of 32-bit integers although they have 16 bits, scaled to the full range."""

WITH_OTHER_IMAGES = ("MPO", "PSD")
"""Formats whose first image is the picture, and the others are previews or layers of it."""

TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2
"""Tags of TIFF, and the values that Pillow does not regard in every mode."""


@dataclass(frozen=True)
class PictureFormat:
    """How pictures become images `(C, size, size)` uint8.

    size: side in pixels: the shorter side is resized to it, then the centre is cropped. None: the picture's own size.
    gray: one channel instead of three.
    background: on which transparent pictures are laid.

    Raises:
        UserError: a value is of another type or out of range.
    """

    size: int | None
    gray: bool
    background: Background = "white"

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(self.size)
        if not isinstance(self.gray, bool):
            raise UserError(f"dataset.gray={self.gray} does not say whether images are gray.", "Give true or false.")
        if self.background not in GRAY_LEVELS:
            raise UserError(
                f"dataset.background={self.background} is no ground for transparent pictures.",
                f"Choose {' or '.join(GRAY_LEVELS)}.",
            )

    def image(self, picture: Image.Image, name: str) -> Tensor:
        """A picture as `(C, H, W)` uint8: upright, opaque, and of the size.

        Args:
            name: of the picture, for messages.

        Raises:
            UserError: it can't be read, has several frames, or values whose range is unknown.
        """
        try:
            pixels = torch.from_numpy(np.array(self._converted(picture, name)))
        except UserError:
            raise
        except Exception as error:  # Pillow raises errors of many types on damaged files
            raise unreadable(name, error) from error
        return pixels.unsqueeze(0) if self.gray else pixels.permute(2, 0, 1)

    def _converted(self, picture: Image.Image, name: str) -> Image.Image:
        if getattr(picture, "is_animated", False) and picture.format not in WITH_OTHER_IMAGES:
            frames = getattr(picture, "n_frames", 2)
            raise UserError(
                f"{name} can't be read as a picture: it has {frames} frames or pages.",
                "Save those that you want as files of their own, and remove it.",
            )
        tags = picture.tag_v2 if picture.format == "TIFF" and hasattr(picture, "tag_v2") else {}
        _check_range(picture, tags, name)
        opaque = upright = _with_8_bits(ImageOps.exif_transpose(picture), tags)
        if upright.has_transparency_data:
            opaque = _laid_on(upright, GRAY_LEVELS[self.background])
        converted = opaque.convert("L" if self.gray else "RGB")
        return converted if self.size is None else ImageOps.fit(converted, (self.size, self.size))


def check_size(size: object) -> None:
    """Refuse a `dataset.size` that is no number of pixels.

    Raises:
        UserError: it is no whole number from 1.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(
            f"dataset.size={config_text(size)} is no side of a picture.", "Give a whole number of pixels, such as 28."
        )


def unreadable(name: str, error: Exception) -> UserError:
    """What to say about an error on opening or decoding a picture.

    Args:
        name: of the picture.
    """
    reason, remedy = str(error) or type(error).__name__, "Remove it, or save it anew as PNG or JPEG."
    if isinstance(error, Image.DecompressionBombError) and Image.MAX_IMAGE_PIXELS:
        reason, remedy = f"it has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels", "Remove it, or save it smaller."
    elif isinstance(error, PermissionError):
        reason, remedy = "permission denied", "Remove it, or make it readable with chmod."
    return UserError(f"{name} can't be read as a picture: {reason.rstrip('.')}.", remedy)


def _check_range(picture: Image.Image, tags: Mapping[int, Any], name: str) -> None:
    """Refuse a picture whose values may have any range."""
    if picture.mode == "F":
        kind = "floating-point numbers"
    elif SIGNED in tags.get(TIFF_SAMPLE_FORMAT, ()) or picture.format == "FITS":
        kind = "signed integers"
    elif picture.mode == "I" and picture.format not in FULL_16_BITS:
        kind = "32-bit integers"
    else:
        return
    raise UserError(
        f"{name} can't be read as a picture: its pixels are {kind} of unknown range.",
        "Save it with 8 or 16 bits a pixel, with its values scaled to their full range, or remove it.",
    )


def _with_8_bits(picture: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """A picture, scaled to 8 bits where it has one channel of more: Pillow's own conversion would clip it."""
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture)
    white = 2 ** tags.get(TIFF_BITS, (16,))[0] - 1
    scaled = (values / (white / 255)).round().astype(np.uint8)
    if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 255 - scaled
    with_8_bits = Image.fromarray(scaled)
    if (transparent := picture.info.get("transparency")) is not None:
        with_8_bits.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return with_8_bits


def _laid_on(picture: Image.Image, level: int) -> Image.Image:
    """A transparent picture on a ground of one gray level."""
    if picture.mode == "La":  # premultiplied; Pillow converts it to no other mode
        picture = picture.convert("LA")
    ground = Image.new("RGBA", picture.size, (level, level, level, 255))
    return Image.alpha_composite(ground, picture.convert("RGBA"))
