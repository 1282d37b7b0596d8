"""The walk from x to x' as an animated GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cam_adv.report.strip import (
    DECEIVED,
    QUIET,
    Frame,
    cam_scale,
    draw_scale,
    outline,
    show_cam,
    show_picture,
)

WIDTH, HEIGHT = 5.6, 3.1  # inches
DOTS = 100  # per inch
LAST_FRAME_HOLD = 8  # times as long as the others, to be read before the loop starts again


def animation_figure(frame: Frame, class_names: Sequence[str], scale: float | None, progress: float) -> Figure:
    """One moment of the animation as a figure.

    The picture stands on the left and the CAM, on [-scale, scale], on the right; without a scale, which says
    that no frame has a CAM, the picture stands alone. progress in [0, 1] is the part of the walk behind us.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    left, right, tall = 0.03, 0.97 if scale is None else 0.86, 0.74
    grid = {"top": 0.87, "bottom": 0.87 - tall, "wspace": 0.04}
    columns = figure.add_gridspec(1, 1 if scale is None else 2, left=left, right=right, **grid)

    picture = figure.add_subplot(columns[0])
    show_picture(picture, frame.image)
    outline(picture, frame)
    if scale is not None and frame.cam is not None:
        axes = figure.add_subplot(columns[1])
        outline(axes, frame)
        overlay = show_cam(axes, frame.image, frame.cam, scale)
        draw_scale(figure.add_axes((right + 0.015, 0.87 - tall, 0.018, tall)), overlay, 7)

    color, weight = (DECEIVED, "bold") if frame.deceived else ("black", "normal")
    answers = {"y": 0.92, "size": 10, "color": color, "weight": weight}
    figure.text(x=left, s=f"victim {frame.victim_text(class_names)}", **answers)
    figure.text(x=right, s=frame.judge_text(class_names), ha="right", **answers)
    figure.text(left, 0.045, frame.caption, size=9, color=QUIET)
    # The bar also keeps equal moments apart: pillow would merge two equal pictures into one frame.
    figure.add_artist(Rectangle((0, 0), progress, 0.012, color=QUIET, linewidth=0))
    return figure


def write_gif(frames: Sequence[Frame], class_names: Sequence[str], path: Path, milliseconds: int) -> None:
    """Write the walk as an endlessly looping GIF, each frame shown for so many milliseconds.

    One colour scale holds for the whole animation. The last frame stays eight times as long. GIF counts in
    hundredths of a second: milliseconds are rounded down to a multiple of 10.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame")
    cams = [frame.cam for frame in frames if frame.cam is not None]
    scale = cam_scale(cams) if cams else None
    pictures = [
        _rendered(animation_figure(frame, class_names, scale, position / len(frames)))
        for position, frame in enumerate(frames, start=1)
    ]
    first, *others = _with_one_palette(pictures)
    durations = [milliseconds] * len(others) + [milliseconds * LAST_FRAME_HOLD]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


def _rendered(figure: Figure) -> Image.Image:
    figure.set_dpi(DOTS)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")


def _with_one_palette(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    # A palette per frame would let one value of the CAM change its colour from frame to frame.
    width, height = pictures[0].width // 2, pictures[0].height // 2
    samples = Image.new("RGB", (width, height * len(pictures)))
    for position, picture in enumerate(pictures):
        samples.paste(picture.resize((width, height), Image.Resampling.NEAREST), (0, position * height))
    palette = samples.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[colors.min(axis=1) >= 248] = 255  # averaging leaves the white ground slightly gray
    palette.putpalette(colors.ravel().tolist())
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
