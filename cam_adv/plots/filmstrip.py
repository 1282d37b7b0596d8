"""The trajectory from x to x' as a filmstrip: the images, and below them the CAM of y."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.textpath import text_to_path
from torch import Tensor
from torch.nn import functional

from cam_adv.data.human_labels import NOTHING
from cam_adv.models.judge import reading_text
from cam_adv.plots.fonts import fallbacks
from cam_adv.plots.page import POINT, Box, page, place_frame, place_image
from cam_adv.plots.style import GRAY, HEADING_SIZE

GRAY_SCALE: Mapping[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
"""How `imshow` draws images; the colour map is for gray images alone."""

DISAGREEMENT_COLOR = "#C04A00"  # vermilion: safe for all kinds of colour vision beside black and the CAM's blue
NOTE = "bold frame: the judge reads something else than the victim says"
RESIDUAL_GAIN = 3
"""Factor by which residuals are enlarged in figures."""

RESIDUAL_LABEL = f"δ × {RESIDUAL_GAIN}"
PAGE_WIDTH = 7.2  # inches, the text width of a two-column page
TITLE_SIZE = 7.0
SMALL_SIZE = 6.0
BOLD = 1.15  # width of bold text relative to regular text


@dataclass(frozen=True)
class Frame:
    """One frame of a trajectory.

    Attributes:
        image: (C, H, W) in [0, 1], C = 1 or 3.
        cam: the signed CAM of y at the resolution of the victim's feature map, (h, w), or None.
        victim_label, judge_label: the predicted classes, as indices; NOTHING where the judge reads nothing.
        victim_confidence, judge_confidence: their probabilities in [0, 1].
        caption: such as "x", "G(z0)", "step 120" or "x'".
        generated: G(z), (C, H, W), of an image clip(G(z) + δ) with a residual; else None.
    """

    image: Tensor
    cam: Tensor | None
    victim_label: int
    victim_confidence: float
    judge_label: int
    judge_confidence: float
    caption: str
    generated: Tensor | None = None

    @property
    def disagrees(self) -> bool:
        """Whether the judge reads another class than the victim says, or nothing."""
        return self.victim_label != self.judge_label

    def victim_text(self, class_names: Sequence[str]) -> str:
        """The victim's prediction, such as "[7] 0.996"."""
        return f"[{class_names[self.victim_label]}] {self.victim_confidence:.3f}"

    def judge_text(self, class_names: Sequence[str]) -> str:
        """What the judge reads, such as "judge [9] 0.98" or "judge [nothing]"."""
        confidence = "" if self.judge_label == NOTHING else f" {self.judge_confidence:.2f}"
        return f"judge [{reading_text(self.judge_label, class_names)}]{confidence}"


def cam_scale(cams: Sequence[Tensor]) -> float:
    """The half-width m of the symmetric colour scale [-m, m] that the maps share: their largest magnitude.

    It is 1 if all maps are zero, since a colour scale must have a width.

    Raises:
        ValueError: there is no map, or a map has a value that isn't finite.
    """
    if not cams:
        raise ValueError("a colour scale needs at least one CAM")
    peaks = [float(cam.detach().abs().max()) for cam in cams]
    if not all(isfinite(peak) for peak in peaks):
        raise ValueError("a CAM has a value that isn't finite")
    return max(peaks) or 1.0


def upsample_cam(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """A signed map (h, w), bilinearly upsampled to size (H, W).

    The mean is preserved if H and W are multiples of h and w.
    """
    small = cam.detach().cpu().float()[None, None]
    return functional.interpolate(small, size=size, mode="bilinear", align_corners=False)[0, 0]


def enlarged_residual(residual: Tensor) -> Tensor:
    """A residual (C, H, W), enlarged around middle gray: 0 is 0.5, and 0.5 ± 0.5 is ± 0.5 / `RESIDUAL_GAIN`."""
    return (0.5 + RESIDUAL_GAIN * residual).clamp(0, 1)


def text_width(text: str, points: float) -> float:
    """The width in inches of one line of text at a font size in points."""
    font = FontProperties(size=points)
    font.set_family([*font.get_family(), *fallbacks(text)])
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def image_pixels(image: Tensor) -> np.ndarray:
    """An image (C, H, W) in [0, 1] as matplotlib shows it: (H, W) for C = 1, (H, W, 3) for C = 3."""
    pixels = image.detach().cpu().float().clamp(0, 1)
    return pixels[0].numpy() if pixels.shape[0] == 1 else pixels.permute(1, 2, 0).numpy()


def cam_pixels(image: Tensor, cam: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The dimmed image (C, H, W), and a CAM (h, w) of its size, each (H, W)."""
    gray = image.detach().cpu().float().mean(dim=0, keepdim=True)
    height, width = gray.shape[1:]
    # Dimmed towards white, the colour of zero: on black, the blue half of the colour map could not be seen.
    return image_pixels(0.55 + 0.45 * gray), upsample_cam(cam, (height, width)).numpy()


def show_image(axes: Axes, image: Tensor) -> AxesImage:
    """Draw an image (C, H, W) in [0, 1], gray for C = 1 and RGB for C = 3, without ticks."""
    axes.set(xticks=[], yticks=[])
    return axes.imshow(image_pixels(image), **GRAY_SCALE)


def show_cam(axes: Axes, image: Tensor, cam: Tensor, scale: float) -> tuple[AxesImage, AxesImage]:
    """Draw a CAM (h, w) on [-scale, scale] over its dimmed image (C, H, W) in [0, 1].

    Returns:
        The artists of the image and of the CAM.
    """
    axes.set(xticks=[], yticks=[])
    dimmed, upsampled = cam_pixels(image, cam)
    return axes.imshow(dimmed, **GRAY_SCALE), axes.imshow(upsampled, **cam_style(scale))


def outline(axes: Axes, frame: Frame) -> None:
    """Draw the frame around an image, bold and coloured if the judge and the victim disagree."""
    for spine in axes.spines.values():
        spine.set(**_outline_style(frame))


def draw_scale(axes: Axes, overlay: AxesImage, points: float) -> None:
    """Draw the colour bar of a CAM into axes, with text at a font size in points."""
    figure = overlay.get_figure()
    assert figure is not None  # the artist was drawn on axes
    bar = figure.colorbar(overlay, cax=axes)
    low, high = overlay.get_clim()
    bar.set_ticks([low, 0, high], labels=[f"{low:.2g}", "0", f"{high:.2g}"])
    axes.tick_params(labelsize=points, length=2, pad=1.5)
    bar.set_label("CAM of y\n(logit units)", size=points, labelpad=2)
    bar.outline.set_linewidth(0.4)


def filmstrip_figure(
    frames: Sequence[Frame], heading: str, class_names: Sequence[str], scale: float | None = None
) -> Figure:
    """The filmstrip as a figure: one column per frame, in the order given, with up to a dozen frames.

    All CAMs share one symmetric colour scale, so that a change of colour is a change of evidence. Rows of what no
    frame has are left out: the CAMs, and of an attack with a residual G(z) and the residual, enlarged.

    Args:
        scale: half-width of the colour scale; the largest magnitude of the frames' CAMs by default.
    """
    if not frames:
        raise ValueError("a filmstrip needs at least one frame")
    cams = [frame.cam for frame in frames if frame.cam is not None]
    parts = ["image"]
    parts += ["G(z)", RESIDUAL_LABEL] if any(frame.generated is not None for frame in frames) else []
    parts += ["CAM"] if cams else []
    rows = len(parts)

    # Lengths in inches, so that the text has the same size for any number of frames.
    note = NOTE if any(frame.disagrees for frame in frames) else ""
    column_gap, row_gap, left, right = 0.07, 0.21, 0.4, 0.68 if cams else 0.1
    top, bottom = 0.52, (0.05 if cams else row_gap) + (0.19 if note else 0.0)
    widest_text = max(_text_width(frame, class_names) for frame in frames) + 0.03
    panel_width = max(widest_text, min(1.05, (PAGE_WIDTH - left - right) / len(frames) - column_gap))
    panel_height = panel_width * frames[0].image.shape[1] / frames[0].image.shape[2]
    row_end = left + len(frames) * (panel_width + column_gap) - column_gap
    width = max(
        row_end + right,
        left + max(text_width(heading, BOLD * HEADING_SIZE), text_width(note, SMALL_SIZE)) + 0.1,
    )
    height = top + rows * panel_height + (rows - 1) * row_gap + bottom

    def place(column: int, row: int) -> Box:
        x, y = left + column * (panel_width + column_gap), top + row * (panel_height + row_gap)
        return Box(x, y, panel_width, panel_height)

    figure, axes = page(width, height)
    scale = scale or (cam_scale(cams) if cams else 1.0)
    for column, frame in enumerate(frames):
        boxes = [place(column, row) for row in range(rows)]
        _place_predictions(axes, frame, boxes[0], class_names)
        if frame.generated is not None:
            residual = enlarged_residual(frame.image - frame.generated)
            for box, image in zip(boxes[1:], (frame.generated, residual), strict=False):
                place_image(axes, image_pixels(image), box, **GRAY_SCALE)
                place_frame(axes, box, color=GRAY, linewidth=0.4)
        if frame.cam is not None:
            dimmed, upsampled = cam_pixels(frame.image, frame.cam)
            place_image(axes, dimmed, boxes[-1], **GRAY_SCALE)
            overlay = place_image(axes, upsampled, boxes[-1], **cam_style(scale))
            place_frame(axes, boxes[-1], **_outline_style(frame))
    if cams:
        bar = ((row_end + 0.08) / width, 1 - boxes[-1].bottom / height, 0.07 / width, panel_height / height)
        draw_scale(figure.add_axes(bar), overlay, SMALL_SIZE)

    axes.text(left, 0.06, heading, va="top", size=HEADING_SIZE, weight="bold")
    axes.text(left - 0.06, top - 0.05, "victim", ha="right", size=SMALL_SIZE)
    for row, part in enumerate(parts[1:], start=1):
        axes.text(left - 0.06, place(0, row).middle, part, ha="right", va="center", size=SMALL_SIZE)
    if note:
        axes.text(left, height - 0.05, note, size=SMALL_SIZE, color=DISAGREEMENT_COLOR)
    return figure


def cam_style(scale: float) -> dict[str, Any]:
    """How `imshow` draws a CAM on [-scale, scale], over its image."""
    return {"cmap": "RdBu_r", "vmin": -scale, "vmax": scale, "alpha": 0.7}


def _outline_style(frame: Frame) -> dict[str, Any]:
    color, width = (DISAGREEMENT_COLOR, 1.6) if frame.disagrees else (GRAY, 0.4)
    return {"color": color, "linewidth": width}


def _text_width(frame: Frame, class_names: Sequence[str]) -> float:
    return max(
        text_width(frame.victim_text(class_names), BOLD * TITLE_SIZE),
        text_width(frame.judge_text(class_names), SMALL_SIZE),
        text_width(frame.caption, SMALL_SIZE),
    )


def _place_predictions(axes: Axes, frame: Frame, box: Box, class_names: Sequence[str]) -> None:
    """The image of a frame on a page, what the victim and the judge say of it, and its caption."""
    place_image(axes, image_pixels(frame.image), box, **GRAY_SCALE)
    place_frame(axes, box, **_outline_style(frame))
    color, weight = (DISAGREEMENT_COLOR, "bold") if frame.disagrees else ("black", "normal")
    victim, judge = frame.victim_text(class_names), frame.judge_text(class_names)
    axes.text(box.center, box.top - 3 * POINT, victim, ha="center", size=TITLE_SIZE, color=color, weight=weight)
    axes.text(box.center, box.bottom + 3 * POINT, judge, ha="center", va="top", size=SMALL_SIZE, color=color)
    axes.text(box.center, box.top - 13 * POINT, frame.caption, ha="center", size=SMALL_SIZE, color=GRAY)
