"""The trajectory from x to x' as an animated GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cam_adv.plots.filmstrip import (
    DISAGREEMENT_COLOR,
    GRAY,
    Frame,
    cam_pixels,
    cam_scale,
    draw_scale,
    image_pixels,
    outline,
    show_cam,
    show_image,
)
from cam_adv.plots.save import make_texts_literal
from cam_adv.runtime.atomic_files import atomic_path

WIDTH, HEIGHT = 5.6, 3.1  # inches
GIF_DPI = 100
LAST_FRAME_HOLD = 8  # times the duration of the other frames, to be read before the loop restarts


class Animation:
    """The figure of an animation, drawn once: a frame redraws only what differs from frame to frame.

    The image is on the left and the CAM, on [-scale, scale], on the right; without a scale the image is alone.
    """

    def __init__(self, first: Frame, class_names: Sequence[str], scale: float | None) -> None:
        """
        Args:
            first: any frame of the trajectory.
            scale: half-width of the CAMs' colour scale; None if no frame has a CAM.
        """
        self.figure = Figure(figsize=(WIDTH, HEIGHT), dpi=GIF_DPI)
        self.class_names = class_names
        self._canvas = FigureCanvasAgg(self.figure)
        left, right, side = 0.03, 0.97 if scale is None else 0.86, 0.74
        grid = {"top": 0.87, "bottom": 0.87 - side, "wspace": 0.04}
        columns = self.figure.add_gridspec(1, 1 if scale is None else 2, left=left, right=right, **grid)

        self._axes = [self.figure.add_subplot(columns[0])]
        self._image, self._maps = show_image(self._axes[0], first.image), None
        if scale is not None and first.cam is not None:
            self._axes.append(self.figure.add_subplot(columns[1]))
            self._maps = show_cam(self._axes[1], first.image, first.cam, scale)
            bar = self.figure.add_axes((right + 0.015, 0.87 - side, 0.018, side))
            draw_scale(bar, self._maps[1], 7)
        self._victim = self.figure.text(left, 0.92, "", size=10)
        self._judge = self.figure.text(right, 0.92, "", size=10, ha="right")
        self._caption = self.figure.text(left, 0.045, "", size=9, color=GRAY)
        # The progress bar also makes equal frames differ: Pillow would merge two equal images into one frame.
        self._progress = Rectangle((0, 0), 0, 0.012, color=GRAY, linewidth=0)
        self.figure.add_artist(self._progress)
        for artist in self._changing:
            artist.set_animated(True)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)

    @property
    def _changing(self) -> list[Artist]:
        """What differs between frames, from back to front."""
        images = [self._image, *(self._maps or ())]
        spines = [spine for axes in self._axes for spine in axes.spines.values()]
        return [*images, *spines, self._victim, self._judge, self._caption, self._progress]

    def render(self, frame: Frame, progress: float) -> Image.Image:
        """A frame as an image; progress in [0, 1] is the share of the trajectory up to it."""
        self.show(frame, progress)
        self._canvas.restore_region(self._background)
        for artist in self._changing:
            self.figure.draw_artist(artist)
        size = self._canvas.get_width_height()
        return Image.frombuffer("RGBA", size, self._canvas.buffer_rgba()).convert("RGB")

    def show(self, frame: Frame, progress: float) -> None:
        """Give the figure's artists the values of a frame."""
        self._image.set_data(image_pixels(frame.image))
        if self._maps is not None and frame.cam is not None:
            for artist, pixels in zip(self._maps, cam_pixels(frame.image, frame.cam), strict=True):
                artist.set_data(pixels)
        for axes in self._axes:
            outline(axes, frame)
        color, weight = (DISAGREEMENT_COLOR, "bold") if frame.disagrees else ("black", "normal")
        self._victim.set(text=f"victim {frame.victim_text(self.class_names)}", color=color, weight=weight)
        self._judge.set(text=frame.judge_text(self.class_names), color=color, weight=weight)
        self._caption.set_text(frame.caption)
        self._progress.set_width(progress)
        make_texts_literal(self.figure)


def write_gif(frames: Sequence[Frame], class_names: Sequence[str], path: Path, milliseconds: int) -> None:
    """Write the trajectory as an endlessly looping GIF, each frame shown for `milliseconds`.

    All frames share one colour scale. The last frame is shown eight times as long. GIF counts in hundredths of a
    second: milliseconds are rounded down to a multiple of 10.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame")
    cams = [frame.cam for frame in frames if frame.cam is not None]
    scale = cam_scale(cams) if cams else None
    animation = Animation(frames[0], class_names, scale)
    images = [animation.render(frame, position / len(frames)) for position, frame in enumerate(frames, start=1)]
    first, *others = _with_shared_palette(images)
    durations = [milliseconds] * len(others) + [milliseconds * LAST_FRAME_HOLD]
    with atomic_path(path) as unfinished:
        first.save(unfinished, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


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
