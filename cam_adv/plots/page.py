"""One axes over a whole figure, in inches from its upper left corner, on which many images and texts are placed.

An axes for each image would be simpler, but takes some twenty milliseconds, most of them for ticks that aren't shown.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

POINT = 1 / 72
"""Inches."""


class Box(NamedTuple):
    """A place on a page, in inches."""

    left: float
    top: float
    width: float
    height: float

    @property
    def center(self) -> float:
        """From the left."""
        return self.left + self.width / 2

    @property
    def middle(self) -> float:
        """From above."""
        return self.top + self.height / 2

    @property
    def bottom(self) -> float:
        """From above."""
        return self.top + self.height


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of this size, in inches, and the axes over all of it, whose coordinates are inches, too."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def place_image(axes: Axes, pixels: np.ndarray, box: Box, **style: Any) -> AxesImage:
    """Draw pixels `(H, W)` or `(H, W, 3)` into a box of a page.

    Args:
        style: of `imshow`.
    """
    extent = (box.left, box.left + box.width, box.bottom, box.top)
    return axes.imshow(pixels, extent=extent, aspect="auto", **style)


def place_frame(axes: Axes, box: Box, **style: Any) -> None:
    """Draw the outline of a box of a page.

    Args:
        style: of the line.
    """
    corner, size = (box.left, box.top), (box.width, box.height)
    axes.add_artist(Rectangle(corner, *size, fill=False, joinstyle="miter", clip_on=False, **style))
