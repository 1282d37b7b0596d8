"""Maps on the way from x to x': one picture's as a strip, many pictures' as curves, all moments as a table."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.reliability.trajectory import Trajectory
from cam_adv.report.strip import cam_scale, show_cam, show_picture
from cam_adv.report.style import COLORS, DASHES, DPI, HEADING_SIZE, LEGEND, QUIET
from cam_adv.writing import write_whole

PANEL = 0.78  # inches
COLUMNS = 9
"""Moments of a strip, x among them."""

POINTS = 60
"""Places on the axis at which curves of many pictures are read off."""

FEWEST = 0.5
"""Share of the pictures that must reach a place for their median to be drawn there."""


def explanations_figure(trajectory: Trajectory, class_names: Sequence[str]) -> Figure:
    """Pictures in the first row, below them a row for each explanation of the class that the victim keeps.

    Every row has one symmetric colour scale for the whole walk.
    """
    moments = [0, *(1 + number for number in evenly_spaced(len(trajectory.images) - 1, COLUMNS - 1))]
    pictures = [trajectory.x, *trajectory.images]
    size = (PANEL * len(moments) + 1.1, PANEL * (1 + len(trajectory.maps)) + 0.55)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    source, target = class_names[trajectory.y], class_names[trajectory.target]
    heading = f"From {source} to {target}: every explanation of the {source} that the victim sees"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    grid = figure.subplots(1 + len(trajectory.maps), len(moments), squeeze=False)
    for axes, moment in zip(grid[0], moments, strict=True):
        show_picture(axes, pictures[moment])
        caption = "x" if moment == 0 else trajectory.captions[moment - 1]
        seen = "" if moment == 0 else f"\n{source}: {trajectory.victim[moment - 1]:.3f}"
        axes.set_title(caption + seen, size=6)
    for row, (name, maps) in zip(grid[1:], trajectory.maps.items(), strict=True):
        scale = cam_scale(list(maps))
        for axes, moment in zip(row, moments, strict=True):
            show_cam(axes, pictures[moment], maps[moment], scale)
        row[0].set_ylabel(name, size=6.5, rotation=0, ha="right", va="center")
    return figure


def draw_explanations(trajectory: Trajectory, class_names: Sequence[str], path: Path) -> None:
    """Write the strip to `path`; see explanations_figure."""
    explanations_figure(trajectory, class_names).savefig(path, dpi=DPI)


def trajectories_figure(trajectories: Sequence[Trajectory]) -> Figure:
    """Change of every explanation's map since x: medians over pictures, against the latent way and the crossing.

    On the left a picture's way begins at G(z0); on the right its zero is where the judge begins to read y'. Lines
    end where fewer than half of the pictures come.
    """
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    heading = "How far maps have moved since x: medians over pictures"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    left, right = figure.subplots(1, 2, sharey=True)
    _curves(left, trajectories, [0.0] * len(trajectories))
    crossed = [one for one in trajectories if one.crossing is not None]
    _curves(right, crossed, [one.crossing or 0.0 for one in crossed])
    right.axvline(0, color=QUIET, linewidth=0.8)
    left.set_ylabel("1 − centred cosine", size=7)
    left.set_xlabel("latent way from G(z0)", size=7)
    right.set_xlabel("latent way beyond the judge's crossing", size=7)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", **LEGEND)
    return figure


def draw_trajectories(trajectories: Sequence[Trajectory], path: Path) -> None:
    """Write the curves to `path`; see trajectories_figure."""
    trajectories_figure(trajectories).savefig(path, dpi=DPI)


def aligned(trajectory: Trajectory, name: str, origin: float, places: np.ndarray) -> np.ndarray:
    """Change of one explanation's map at `places` on the latent way, counted from `origin`; NaN beyond its ends."""
    way, changes = trajectory.way.numpy() - origin, trajectory.changes[name].numpy()
    return np.interp(places, way, changes, left=np.nan, right=np.nan)


def write_trajectories(trajectories: Sequence[Trajectory], path: Path) -> None:
    """A line for each moment of each picture: where it is, what victim and judge say, how far each map has moved."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(trajectories[0].changes) if trajectories else []
    moved = [f"change_{name}" for name in names]
    writer.writerow(
        ["picture", "y", "target", "moment", "way", "beyond_crossing", "victim_y", "judge_target", *moved]
    )
    for number, one in enumerate(trajectories):
        for moment, way in enumerate(one.way.tolist()):
            beyond = "" if one.crossing is None else f"{way - one.crossing:.4f}"
            figures = [one.victim[moment], one.judge[moment], *(one.changes[name][moment] for name in names)]
            place = [number, one.y, one.target, moment, f"{way:.4f}", beyond]
            writer.writerow([*place, *(f"{float(figure):.6f}" for figure in figures)])
    write_whole(path, text.getvalue())


def _curves(axes: Axes, trajectories: Sequence[Trajectory], origins: Sequence[float]) -> None:
    axes.tick_params(labelsize=6.5, color=QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)
    if not trajectories:
        return
    starts = [-origin for origin in origins]
    ends = [float(one.way[-1]) - origin for one, origin in zip(trajectories, origins, strict=True)]
    places = np.linspace(min(starts), max(ends), POINTS)
    for number, name in enumerate(trajectories[0].changes):
        read = [aligned(one, name, origin, places) for one, origin in zip(trajectories, origins, strict=True)]
        values = np.array(read)
        enough = np.isfinite(values).mean(axis=0) >= FEWEST
        style = {"color": COLORS[number % len(COLORS)], "linestyle": DASHES[number // len(COLORS)]}
        axes.plot(places[enough], np.nanmedian(values[:, enough], axis=0), linewidth=1.2, label=name, **style)
