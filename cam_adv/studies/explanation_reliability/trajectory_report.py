"""Maps along the path from x to x': one image as a strip, many images as curves, all frames as a table."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cam_adv.attacks.trace import evenly_spaced
from cam_adv.plots.filmstrip import cam_scale, show_cam, show_image
from cam_adv.plots.style import COLORS, DASHES, GRAY, HEADING_SIZE, LEGEND
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.studies.explanation_reliability.trajectory import Trajectory

PANEL = 0.78  # inches
COLUMNS = 9
"""Images of a strip, x among them."""

GRID_POINTS = 60
"""Positions at which the curves of many images are interpolated."""

MIN_SHARE = 0.5
"""Share of the images that must reach a position for their median to be drawn there."""


def attributions_figure(trajectory: Trajectory, class_names: Sequence[str]) -> Figure:
    """Images in the first row, below them a row of maps of class y for each attribution method.

    Every row has one symmetric colour scale for the whole path.
    """
    images = [trajectory.x, *trajectory.frames]
    columns = [0, *(1 + number for number in evenly_spaced(len(trajectory.frames) - 1, COLUMNS - 1))]
    size = (PANEL * len(columns) + 1.1, PANEL * (1 + len(trajectory.maps)) + 0.55)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    source, target = class_names[trajectory.y], class_names[trajectory.target]
    heading = f"From {source} to {target}: maps of the victim's class {source} by every attribution method"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    grid = figure.subplots(1 + len(trajectory.maps), len(columns), squeeze=False)
    for axes, column in zip(grid[0], columns, strict=True):
        show_image(axes, images[column])
        caption = "x" if column == 0 else trajectory.captions[column - 1]
        prob = "" if column == 0 else f"\n{source}: {trajectory.victim_probs[column - 1]:.3f}"
        axes.set_title(caption + prob, size=6)
    for row, (name, maps) in zip(grid[1:], trajectory.maps.items(), strict=True):
        scale = cam_scale(list(maps))
        for axes, column in zip(row, columns, strict=True):
            show_cam(axes, images[column], maps[column], scale)
        row[0].set_ylabel(name, size=6.5, rotation=0, ha="right", va="center")
    return figure


def trajectories_figure(trajectories: Sequence[Trajectory]) -> Figure:
    """Dissimilarity of every method's map to that of x: medians over images, against latent path length.

    On the left the path starts at G(z0); on the right its zero is the first frame that the judge reads as y'.
    Lines end where fewer than half of the images have frames.
    """
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    heading = "Dissimilarity to the map of x along the attack's path: medians over images"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    left, right = figure.subplots(1, 2, sharey=True)
    _curves(left, trajectories, [0.0] * len(trajectories))
    crossings = {
        number: trajectory.judge_crossing
        for number, trajectory in enumerate(trajectories)
        if trajectory.judge_crossing is not None
    }
    _curves(right, [trajectories[number] for number in crossings], list(crossings.values()))
    right.axvline(0, color=GRAY, linewidth=0.8)
    left.set_ylabel("1 − centred cosine", size=7)
    left.set_xlabel("latent path length from G(z0)", size=7)
    right.set_xlabel("latent path length from the judge's crossing", size=7)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", **LEGEND)
    return figure


def dissimilarity_at(trajectory: Trajectory, name: str, origin: float, positions: np.ndarray) -> np.ndarray:
    """Dissimilarity by one method, interpolated at `positions` on the path from `origin`; NaN beyond its ends."""
    path_length, values = trajectory.path_length.numpy() - origin, trajectory.dissimilarities[name].numpy()
    return np.interp(positions, path_length, values, left=np.nan, right=np.nan)


def write_trajectories(trajectories: Sequence[Trajectory], path: Path) -> None:
    """A line for each frame of each image: path length, probabilities, and each method's map dissimilarity."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(trajectories[0].dissimilarities) if trajectories else []
    columns = ["image", "y", "target", "frame", "path_length", "past_judge_crossing", "victim_y", "judge_target"]
    writer.writerow([*columns, *(f"map_dissimilarity_{name}" for name in names)])
    for number, one in enumerate(trajectories):
        for frame, length in enumerate(one.path_length.tolist()):
            past_crossing = "" if one.judge_crossing is None else f"{length - one.judge_crossing:.4f}"
            values = [
                one.victim_probs[frame],
                one.judge_probs[frame],
                *(one.dissimilarities[name][frame] for name in names),
            ]
            key = [number, one.y, one.target, frame, f"{length:.4f}", past_crossing]
            writer.writerow([*key, *(f"{float(value):.6f}" for value in values)])
    write_atomically(path, text.getvalue())


def _curves(axes: Axes, trajectories: Sequence[Trajectory], origins: Sequence[float]) -> None:
    axes.tick_params(labelsize=6.5, color=GRAY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)
    if not trajectories:
        return
    first = min(-origin for origin in origins)
    last = max(float(one.path_length[-1]) - origin for one, origin in zip(trajectories, origins, strict=True))
    positions = np.linspace(first, last, GRID_POINTS)
    for number, name in enumerate(trajectories[0].dissimilarities):
        values = np.array(
            [
                dissimilarity_at(one, name, origin, positions)
                for one, origin in zip(trajectories, origins, strict=True)
            ]
        )
        enough = np.isfinite(values).mean(axis=0) >= MIN_SHARE
        axes.plot(
            positions[enough],
            np.nanmedian(values[:, enough], axis=0),
            linewidth=1.2,
            label=name,
            color=COLORS[number % len(COLORS)],
            linestyle=DASHES[number // len(COLORS)],
        )
