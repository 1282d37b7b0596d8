"""What a robust interpretation shows of x and x': its map, or where it abstains the image as it would have to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.plots.filmstrip import GRAY_SCALE, cam_pixels, cam_scale, cam_style, image_pixels
from cam_adv.plots.page import POINT, Box, page, place_frame, place_image
from cam_adv.plots.style import GRAY, HEADING_SIZE

PAIRS_PER_ROW = 2
PANEL, GAP, ROW_GAP, MARGIN = 0.52, 0.06, 0.24, 0.1  # inches
TEXT_SIZE = 6.0
PANELS = 6
"""Of a pair: x and two panels for its explanation, and the same for x'."""


@dataclass(frozen=True)
class ShownExplanation:
    """What a robust interpretation shows of N images: the fields of a `RobustExplanation`, and the images."""

    images: Tensor
    maps: Tensor
    abstained: Tensor
    as_label: Tensor
    as_target: Tensor


def interpretation_figure(
    x: ShownExplanation, x_adv: ShownExplanation, y: Tensor, target: Tensor, class_names: Sequence[str]
) -> Figure:
    """Pairs x, x', each with the map of y against y' beside it, or the image redrawn as y and as y'.

    All maps share one colour scale.
    """
    shown_maps = [one for part in (x, x_adv) for one in part.maps[~part.abstained.bool()]]
    scale = cam_scale(shown_maps) if shown_maps else 1.0
    height_of_panel = PANEL * x.images.shape[2] / x.images.shape[3]
    pair_width, row_height = PANELS * (PANEL + GAP) + 3 * GAP, height_of_panel + ROW_GAP
    columns = min(PAIRS_PER_ROW, len(y))
    top = 0.5
    figure, axes = page(2 * MARGIN + columns * pair_width, top + ceil(len(y) / columns) * row_height + MARGIN)
    axes.text(MARGIN, 0.08, "The robust interpretation of x and of x'", va="top", size=HEADING_SIZE, weight="bold")
    note = "Beside each image the averaged map of y against y'; where it abstains, the image redrawn as y and as y'."
    axes.text(MARGIN, 0.28, note, va="top", size=TEXT_SIZE)
    for number in range(len(y)):
        row, column = divmod(number, columns)
        classes = class_names[int(y[number])], class_names[int(target[number])]
        for part, (shown, name) in enumerate(((x, "x"), (x_adv, "x'"))):
            left = MARGIN + column * pair_width + part * (3 * (PANEL + GAP) + GAP)
            box = Box(left, top + row * row_height, PANEL, height_of_panel)
            caption = f"{name}: {classes[0]}→{classes[1]}"
            _place_explanation(axes, shown, number, box, caption, classes, scale)
    return figure


def _place_explanation(
    axes: Axes, shown: ShownExplanation, number: int, box: Box, caption: str, classes: tuple[str, str], scale: float
) -> None:
    image, boxes = shown.images[number], [box._replace(left=box.left + k * (PANEL + GAP)) for k in range(3)]
    _place(axes, image, boxes[0], caption)
    if shown.abstained[number]:
        _place(axes, shown.as_label[number], boxes[1], f"as {classes[0]}")
        _place(axes, shown.as_target[number], boxes[2], f"as {classes[1]}")
        return
    dimmed, upsampled = cam_pixels(image, shown.maps[number])
    place_image(axes, dimmed, boxes[1], **GRAY_SCALE)
    place_image(axes, upsampled, boxes[1], **cam_style(scale))
    _label(axes, boxes[1], "map")


def _place(axes: Axes, image: Tensor, box: Box, text: str) -> None:
    place_image(axes, image_pixels(image), box, **GRAY_SCALE)
    _label(axes, box, text)


def _label(axes: Axes, box: Box, text: str) -> None:
    place_frame(axes, box, color=GRAY, linewidth=0.4)
    axes.text(box.center, box.bottom + 2 * POINT, text, ha="center", va="top", size=TEXT_SIZE)
