"""Curves as small multiples: the terms of the attack's objective over its steps, and the models' training."""

from collections.abc import Mapping, Sequence
from math import ceil, isfinite

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from cam_adv.plots.style import COLORS, DASHES, GRAY, HEADING_SIZE, LEGEND, LOG_SPAN, PANEL

TrainingCurves = Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]
"""Of each model by its title: curve → (epochs, values)."""

PANELS_PER_ROW = 3
# Lengths in inches. The layout is fixed, since matplotlib's constrained layout takes a second in every run.
LEFT, RIGHT, BOTTOM, TOP = 0.42, 0.1, 0.42, 0.22  # margins of a panel around its axes
HEADING, FOOT = 0.27, 0.2  # margins of the figure
LEGEND_LINE = 0.14  # height of one line of a legend
LEGEND_OFFSET = 4.5  # from the axes down to the legend, in units of its font size


def quartiles(term: Tensor) -> Tensor:
    """The 25%, 50% and 75% quantiles of a term (N, F) over the images: (3, F).

    NaNs are ignored; a step at which all images are NaN gives NaN.
    """
    values = term.detach().cpu().double()
    return torch.nanquantile(values, torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype), dim=0)


def terms_figure(steps: Tensor, terms: Mapping[str, Tensor], heading: str) -> Figure:
    """The terms as a figure, one panel per term: the median over the images as a line, the quartiles as a band.

    Args:
        steps: the attack's step of each recorded point, (F,).
        terms: name -> (N, F), NaN where an image has no value.
    """
    figure, panels = _panels(len(terms), heading, 0)
    x = steps.detach().cpu().numpy()
    for axes, (name, term) in zip(panels, terms.items(), strict=True):
        low, median, high = quartiles(term).numpy()
        axes.fill_between(x, low, high, color=COLORS[0], alpha=0.22, linewidth=0, label="25-75% of images")
        axes.plot(x, median, color=COLORS[0], linewidth=1.4, label="median")
        _label(axes, name, "attack step")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right", ncols=2, **LEGEND)
    return figure


def training_figure(curves: TrainingCurves) -> Figure:
    """The training curves as a figure: one panel per model.

    A panel whose values are positive and span more than two decades has a logarithmic axis.
    """
    lines = max((ceil(len(named) / 2) for named in curves.values()), default=0)
    figure, panels = _panels(len(curves), "training", lines)
    for axes, (model, named) in zip(panels, curves.items(), strict=True):
        for index, (name, (epochs, values)) in enumerate(named.items()):
            (line,) = axes.plot(epochs, values, label=name, linewidth=1.2, color=COLORS[index % len(COLORS)])
            line.set_linestyle(DASHES[index // len(COLORS) % len(DASHES)])
            # A single point, such as the only epoch of a smoke test, draws no line.
            line.set(marker="o" if len(values) == 1 else "", markersize=4)
        if _spans_decades([value for _, values in named.values() for value in values]):
            axes.set_yscale("log")
        _label(axes, model, "epoch")
        if named:
            pad = LEGEND_OFFSET * LEGEND["fontsize"] / 72  # inches; the legend keeps this distance on its left, too
            edge = (-(LEFT + pad - 0.04) / (PANEL[0] - LEFT - RIGHT), 0)  # of the panel, in widths of its axes
            compact = LEGEND | {"handlelength": 1.0, "columnspacing": 0.8, "handletextpad": 0.4}
            axes.legend(loc="upper left", bbox_to_anchor=edge, ncols=2, borderaxespad=LEGEND_OFFSET, **compact)
    return figure


def _panels(count: int, heading: str, legend_lines: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels. legend_lines: the number of lines of the legend below each panel."""
    if count == 0:
        raise ValueError("no curve to draw")
    columns = min(PANELS_PER_ROW, count)
    panel_width, panel_height = PANEL[0], PANEL[1] + LEGEND_LINE * legend_lines
    width, height = panel_width * columns, panel_height * ceil(count / columns) + HEADING + FOOT
    figure = Figure(figsize=(width, height))
    figure.text(0.1 / width, 1 - 0.06 / height, heading, size=HEADING_SIZE, weight="bold", va="top")
    size = ((panel_width - LEFT - RIGHT) / width, (PANEL[1] - BOTTOM - TOP) / height)
    panels = []
    for position in range(count):
        row, column = divmod(position, columns)
        axes_bottom = HEADING + row * panel_height + PANEL[1] - BOTTOM  # from the top of the figure
        panels.append(figure.add_axes(((column * panel_width + LEFT) / width, 1 - axes_bottom / height, *size)))
    return figure, panels


def _label(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title, size=8, loc="left")
    axes.set_xlabel(x, size=7)
    axes.tick_params(labelsize=6.5, color=GRAY)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)


def _spans_decades(values: Sequence[float]) -> bool:
    finite = [value for value in values if isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > LOG_SPAN * min(finite)
