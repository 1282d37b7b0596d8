"""How far maps move under the attack and under each control, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cam_adv.reliability.observation import CHANGE, Observation, concatenate
from cam_adv.report.style import DPI, HEADING_SIZE

Changes = dict[str, dict[str, float]]
"""Picture → explanation → mean change of the map since x."""


def mean_changes(observations: Sequence[Mapping[str, Observation]]) -> Changes:
    """Means over all rows of all victims: first the attack's, then each control's."""
    changes: Changes = {}
    for name in observations[0] if observations else ():
        rows = concatenate([observed[name].rows for observed in observations])
        for column, values in rows.items():
            if column.startswith(CHANGE):
                changes.setdefault(column.removeprefix(CHANGE), {})[name] = values.double().mean().item()
    return changes


def print_changes(changes: Changes) -> None:
    """A line for each picture, a column for each explanation."""
    table = Table(
        title="change of the map since x (1 − centred cosine: 0 the same, 1 nothing in common)",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("picture", no_wrap=True)
    for name in next(iter(changes.values()), ()):
        table.add_column(name.replace("_", "\n"), justify="right")
    for picture, of in changes.items():
        table.add_row(picture, *(f"{value:.2f}" for value in of.values()))
    Console().print(table)


def changes_figure(changes: Changes) -> Figure:
    """The same as a map of numbers, darker where a map has less in common with that of x."""
    pictures, names = list(changes), list(next(iter(changes.values()), ()))
    values = np.array([[changes[picture][name] for name in names] for picture in pictures])
    figure = Figure(figsize=(0.62 * len(names) + 1.6, 0.24 * len(pictures) + 1.3), layout="constrained")
    heading = "Change of the map since x, under the attack and under each control"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.5, aspect="auto")
    for row, column in np.ndindex(values.shape):
        color = "white" if values[row, column] > 0.9 else "black"
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", size=6.5, color=color)
    axes.set_yticks(range(len(pictures)), pictures, size=7)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], size=6.5)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.axhline(0.5, color="white", linewidth=3)
    return figure


def draw_changes(changes: Changes, path: Path) -> None:
    """Write the map of numbers to `path`; see changes_figure."""
    changes_figure(changes).savefig(path, dpi=DPI)
