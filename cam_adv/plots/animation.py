"""The trajectory from x to x' as an animated GIF."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cam_adv.plots.filmstrip import (
    DISAGREEMENT_COLOR,
    GRAY,
    Frame,
    cam_scale,
    draw_scale,
    outline,
    show_cam,
    show_image,
)

WIDTH, HEIGHT = 5.6, 3.1  # inches
GIF_DPI = 100
LAST_FRAME_HOLD = 8  # times the duration of the other frames, to be read before the loop restarts


def animation_figure(frame: Frame, class_names: Sequence[str], scale: float | None, progress: float) -> Figure:
    """One frame of the animation as a figure.

    The image is on the left and the CAM, on [-scale, scale], on the right. scale is None if no frame has a CAM: the
    image is then drawn alone. progress in [0, 1] is the share of the trajectory up to this frame.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    left, right, side = 0.03, 0.97 if scale is None else 0.86, 0.74
    grid = {"top": 0.87, "bottom": 0.87 - side, "wspace": 0.04}
    columns = figure.add_gridspec(1, 1 if scale is None else 2, left=left, right=right, **grid)

    image_axes = figure.add_subplot(columns[0])
    show_image(image_axes, frame.image)
    outline(image_axes, frame)
    if scale is not None and frame.cam is not None:
        cam_axes = figure.add_subplot(columns[1])
        outline(cam_axes, frame)
        overlay = show_cam(cam_axes, frame.image, frame.cam, scale)
        draw_scale(figure.add_axes((right + 0.015, 0.87 - side, 0.018, side)), overlay, 7)

    color, weight = (DISAGREEMENT_COLOR, "bold") if frame.disagrees else ("black", "normal")
    style: dict[str, Any] = {"size": 10, "color": color, "weight": weight}
    figure.text(left, 0.92, f"victim {frame.victim_text(class_names)}", **style)
    figure.text(right, 0.92, frame.judge_text(class_names), ha="right", **style)
    figure.text(left, 0.045, frame.caption, size=9, color=GRAY)
    # The progress bar also makes equal frames differ: Pillow would merge two equal images into one frame.
    figure.add_artist(Rectangle((0, 0), progress, 0.012, color=GRAY, linewidth=0))
    return figure


def write_gif(frames: Sequence[Frame], class_names: Sequence[str], path: Path, milliseconds: int) -> None:
    """Write the trajectory as an endlessly looping GIF, each frame shown for `milliseconds`.

    All frames share one colour scale. The last frame is shown eight times as long. GIF counts in hundredths of a
    second: milliseconds are rounded down to a multiple of 10.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame")
    cams = [frame.cam for frame in frames if frame.cam is not None]
    scale = cam_scale(cams) if cams else None
    images = [
        _render(animation_figure(frame, class_names, scale, position / len(frames)))
        for position, frame in enumerate(frames, start=1)
    ]
    first, *others = _with_shared_palette(images)
    durations = [milliseconds] * len(others) + [milliseconds * LAST_FRAME_HOLD]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


def _render(figure: Figure) -> Image.Image:
    figure.set_dpi(GIF_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")


def _with_shared_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    # With one palette per frame, the same CAM value could change its colour from frame to frame.
    width, height = images[0].width // 2, images[0].height // 2
    samples = Image.new("RGB", (width, height * len(images)))
    for position, image in enumerate(images):
        samples.paste(image.resize((width, height), Image.Resampling.NEAREST), (0, position * height))
    palette = samples.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[colors.min(axis=1) >= 248] = 255  # averaging makes the white background slightly gray
    palette.putpalette(colors.ravel().tolist())
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
