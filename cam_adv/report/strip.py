"""The walk from x to x' as a strip: the pictures, and below them the CAM of the source class."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.textpath import text_to_path
from torch import Tensor
from torch.nn import functional

from cam_adv.report.style import DPI, HEADING_SIZE, QUIET

DECEIVED = "#C04A00"  # vermilion: apart from black and from the CAM's blue for every kind of sight
NOTE = "bold frame: the judge reads another class than the victim"
PAPER_WIDTH = 7.2  # inches, a two-column page
TITLE_SIZE = 7.0
SMALL_SIZE = 6.0
BOLD = 1.15  # how much wider bold type runs


@dataclass(frozen=True)
class Frame:
    """One moment of the walk.

    image: (C, H, W) in [0, 1], C = 1 or 3. cam: (h, w), the signed CAM of the source class at the victim's
    own resolution, or None. The labels are class indices, the confidences lie in [0, 1]. caption says which
    moment it is, such as "x", "G(z0)", "step 120" or "x'".
    """

    image: Tensor
    cam: Tensor | None
    victim_label: int
    victim_confidence: float
    judge_label: int
    judge_confidence: float
    caption: str

    @property
    def deceived(self) -> bool:
        """Whether the judge reads another class than the victim."""
        return self.victim_label != self.judge_label

    def victim_text(self, class_names: Sequence[str]) -> str:
        """The victim's answer, such as "[7] 0.996"."""
        return f"[{class_names[self.victim_label]}] {self.victim_confidence:.3f}"

    def judge_text(self, class_names: Sequence[str]) -> str:
        """The judge's answer, such as "judge [9] 0.98"."""
        return f"judge [{class_names[self.judge_label]}] {self.judge_confidence:.2f}"


def cam_scale(cams: Sequence[Tensor]) -> float:
    """The half-width m of the one symmetric colour scale [-m, m] of some maps: their largest magnitude.

    Maps that are zero everywhere get 1, since a scale must have a width. Raises ValueError where there is
    no map or a map isn't finite.
    """
    if not cams:
        raise ValueError("no CAM to take a colour scale from")
    peaks = [float(cam.detach().abs().max()) for cam in cams]
    if not all(isfinite(peak) for peak in peaks):
        raise ValueError("a CAM holds a value that isn't finite")
    return max(peaks) or 1.0


def upsample_cam(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (h, w) bilinearly enlarged to size (H, W), signs kept.

    The mean is kept too wherever H and W are multiples of h and w.
    """
    small = cam.detach().cpu().float()[None, None]
    return functional.interpolate(small, size=size, mode="bilinear", align_corners=False)[0, 0]


def text_width(text: str, points: float) -> float:
    """The width in inches of a line of text set at this many points."""
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=points), False)[0] / 72


def show_picture(axes: Axes, image: Tensor) -> AxesImage:
    """Draw a picture (C, H, W) in [0, 1], gray for C = 1 and RGB for C = 3, without ticks."""
    axes.set(xticks=[], yticks=[])
    pixels = image.detach().cpu().float().clamp(0, 1)
    if pixels.shape[0] == 1:
        return axes.imshow(pixels[0].numpy(), cmap="gray", vmin=0, vmax=1)
    return axes.imshow(pixels.permute(1, 2, 0).numpy())


def show_cam(axes: Axes, image: Tensor, cam: Tensor, scale: float) -> AxesImage:
    """Draw a CAM (h, w) on the scale [-scale, scale] over its dimmed picture (C, H, W) in [0, 1].

    Returns the artist of the CAM, not the picture's.
    """
    gray = image.detach().cpu().float().mean(dim=0, keepdim=True)
    # Dimmed towards white, the colour map's zero: a black ground would drown the blue half of the scale.
    show_picture(axes, 0.55 + 0.45 * gray)
    height, width = gray.shape[1:]
    enlarged = upsample_cam(cam, (height, width)).numpy()
    return axes.imshow(enlarged, cmap="RdBu_r", vmin=-scale, vmax=scale, alpha=0.7)


def outline(axes: Axes, frame: Frame) -> None:
    """Draw the picture's edge, bold and in colour where the judge and the victim disagree."""
    color, width = (DECEIVED, 1.6) if frame.deceived else (QUIET, 0.4)
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=width)


def draw_scale(axes: Axes, overlay: AxesImage, points: float) -> None:
    """Fill axes with the colour bar of a CAM, its text set at this many points."""
    bar = overlay.get_figure().colorbar(overlay, cax=axes)
    low, high = overlay.get_clim()
    bar.set_ticks([low, 0, high], labels=[f"{low:.2g}", "0", f"{high:.2g}"])
    axes.tick_params(labelsize=points, length=2, pad=1.5)
    bar.set_label("CAM of source class\n(logit units)", size=points, labelpad=2)
    bar.outline.set_linewidth(0.4)


def strip_figure(
    frames: Sequence[Frame], heading: str, class_names: Sequence[str], scale: float | None = None
) -> Figure:
    """The strip as a figure: a column a frame, in the order given.

    All CAMs share one symmetric scale, so that a change of colour is a change of evidence: from -scale to scale,
    or to the frames' own largest magnitude. The row of CAMs is left out where no frame has one.
    """
    if not frames:
        raise ValueError("a strip needs at least one frame")
    cams = [frame.cam for frame in frames if frame.cam is not None]
    rows = 2 if cams else 1

    # All lengths are in inches: text keeps its size however many frames there are.
    note = NOTE if any(frame.deceived for frame in frames) else ""
    gap, between, left, right = 0.07, 0.21, 0.4, 0.68 if cams else 0.1
    top, bottom = 0.52, (0.05 if cams else between) + (0.19 if note else 0.0)
    widest = max(_text_column(frame, class_names) for frame in frames) + 0.03
    panel = max(widest, min(1.05, (PAPER_WIDTH - left - right) / len(frames) - gap))
    tall = panel * frames[0].image.shape[1] / frames[0].image.shape[2]
    row_end = left + len(frames) * (panel + gap) - gap
    width = max(
        row_end + right,
        left + max(text_width(heading, BOLD * HEADING_SIZE), text_width(note, SMALL_SIZE)) + 0.1,
    )
    height = top + rows * tall + (rows - 1) * between + bottom

    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        rows,
        len(frames),
        left=left / width,
        right=row_end / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=gap / panel,
        hspace=between / tall,
    )
    scale = scale or (cam_scale(cams) if cams else 1.0)
    for column, frame in enumerate(frames):
        _draw_answers(figure.add_subplot(grid[0, column]), frame, class_names)
        if frame.cam is not None:
            axes = figure.add_subplot(grid[1, column])
            outline(axes, frame)
            overlay = show_cam(axes, frame.image, frame.cam, scale)
    if cams:
        row = grid[1, :].get_position(figure)
        bar = figure.add_axes((row.x1 + 0.08 / width, row.y0, 0.07 / width, row.height))
        draw_scale(bar, overlay, SMALL_SIZE)

    figure.text(left / width, 1 - 0.06 / height, heading, ha="left", va="top", size=HEADING_SIZE, weight="bold")
    first = figure.axes[0].get_position()
    figure.text((left - 0.06) / width, first.y1 + 0.05 / height, "victim", ha="right", size=SMALL_SIZE)
    if note:
        figure.text(left / width, 0.05 / height, note, ha="left", size=SMALL_SIZE, color=DECEIVED)
    return figure


def draw_strip(
    frames: Sequence[Frame], heading: str, class_names: Sequence[str], path: Path, scale: float | None = None
) -> None:
    """Write the strip of up to a dozen frames as a picture to path; see strip_figure."""
    strip_figure(frames, heading, class_names, scale).savefig(path, dpi=DPI)


def _text_column(frame: Frame, class_names: Sequence[str]) -> float:
    return max(
        text_width(frame.victim_text(class_names), BOLD * TITLE_SIZE),
        text_width(frame.judge_text(class_names), SMALL_SIZE),
        text_width(frame.caption, SMALL_SIZE),
    )


def _draw_answers(axes: Axes, frame: Frame, class_names: Sequence[str]) -> None:
    show_picture(axes, frame.image)
    outline(axes, frame)
    color, weight = (DECEIVED, "bold") if frame.deceived else ("black", "normal")
    axes.set_title(frame.victim_text(class_names), size=TITLE_SIZE, color=color, weight=weight, pad=3)
    axes.set_xlabel(frame.judge_text(class_names), size=SMALL_SIZE, color=color, labelpad=3)
    above = {"xy": (0.5, 1), "xycoords": "axes fraction", "xytext": (0, 13), "textcoords": "offset points"}
    axes.annotate(frame.caption, **above, ha="center", size=SMALL_SIZE, color=QUIET)
