"""Curves as small multiples: the attack's terms over its steps, and the models' training."""

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from cam_adv.report.style import COLORS, DASHES, DPI, HEADING_SIZE, LEGEND, LOG_SPAN, PANEL, QUIET

PANELS_A_ROW = 3
# Inches. Places are fixed: to let matplotlib look for them takes a second of every run.
LEFT, RIGHT, BOTTOM, TOP = 0.42, 0.1, 0.42, 0.22  # of a panel, around its axes
HEADING, FOOT = 0.27, 0.2  # of the figure
LINE = 0.14  # of a legend
LEGEND_BELOW = 4.5  # its axes, in sizes of its font


def quartiles(term: Tensor) -> Tensor:
    """The 25%, 50% and 75% quantiles over the images of a term (N, F), NaNs left out: (3, F).

    A step at which every image is NaN gives NaN.
    """
    values = term.detach().cpu().double()
    return torch.nanquantile(values, torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype), dim=0)


def terms_figure(steps: Tensor, terms: Mapping[str, Tensor], heading: str) -> Figure:
    """The terms as a figure, one panel a term: the median over images as a line, the middle half as a band.

    steps: (F,), the attack's step of each recorded frame. terms: name -> (N, F), NaN where an image has no
    value.
    """
    figure, panels = _panels(len(terms), heading, 0)
    at = steps.detach().cpu().numpy()
    for axes, (name, term) in zip(panels, terms.items(), strict=True):
        low, median, high = quartiles(term).numpy()
        axes.fill_between(at, low, high, color=COLORS[0], alpha=0.22, linewidth=0, label="25-75% of images")
        axes.plot(at, median, color=COLORS[0], linewidth=1.4, label="median")
        _label(axes, name, "attack step")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right", ncols=2, **LEGEND)
    return figure


def draw_terms(steps: Tensor, terms: Mapping[str, Tensor], heading: str, path: Path) -> None:
    """Write the attack's terms over its steps as a picture to path; see terms_figure."""
    terms_figure(steps, terms, heading).savefig(path, dpi=DPI)


def training_figure(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
) -> Figure:
    """The training curves as a figure: a panel a model, whose curves are name -> (epochs, values).

    A panel whose positive values span more than two decades has a logarithmic axis.
    """
    lines = max((ceil(len(named) / 2) for named in curves.values()), default=0)
    figure, panels = _panels(len(curves), "training", lines)
    for axes, (model, named) in zip(panels, curves.items(), strict=True):
        for index, (name, (epochs, values)) in enumerate(named.items()):
            (line,) = axes.plot(epochs, values, label=name, linewidth=1.2, color=COLORS[index % len(COLORS)])
            line.set_linestyle(DASHES[index // len(COLORS) % len(DASHES)])
            # A lone point, such as the only epoch of a smoke test, draws no line.
            line.set(marker="o" if len(values) == 1 else "", markersize=4)
        if _spans_decades([value for _, values in named.values() for value in values]):
            axes.set_yscale("log")
        _label(axes, model, "epoch")
        if named:
            pad = LEGEND_BELOW * LEGEND["fontsize"] / 72  # inches, which the legend keeps to the left, too
            edge = (-(LEFT + pad - 0.04) / (PANEL[0] - LEFT - RIGHT), 0)  # of the panel, in widths of its axes
            short = LEGEND | {"handlelength": 1.0, "columnspacing": 0.8, "handletextpad": 0.4}
            axes.legend(loc="upper left", bbox_to_anchor=edge, ncols=2, borderaxespad=LEGEND_BELOW, **short)
    return figure


def draw_training(curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], path: Path) -> None:
    """Write the training curves as a picture to path; see training_figure."""
    training_figure(curves).savefig(path, dpi=DPI)


def _panels(count: int, heading: str, lines: int) -> tuple[Figure, list[Axes]]:
    """`lines`: of the legend that stands under each panel."""
    if count == 0:
        raise ValueError("no curve to draw")
    columns = min(PANELS_A_ROW, count)
    across, down = PANEL[0], PANEL[1] + LINE * lines
    width, height = across * columns, down * ceil(count / columns) + HEADING + FOOT
    figure = Figure(figsize=(width, height))
    figure.text(0.1 / width, 1 - 0.06 / height, heading, size=HEADING_SIZE, weight="bold", va="top")
    size = ((across - LEFT - RIGHT) / width, (PANEL[1] - BOTTOM - TOP) / height)
    panels = []
    for position in range(count):
        row, column = divmod(position, columns)
        above = HEADING + row * down + PANEL[1] - BOTTOM
        panels.append(figure.add_axes(((column * across + LEFT) / width, 1 - above / height, *size)))
    return figure, panels


def _label(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title, size=8, loc="left")
    axes.set_xlabel(x, size=7)
    axes.tick_params(labelsize=6.5, color=QUIET)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)


def _spans_decades(values: Sequence[float]) -> bool:
    finite = [value for value in values if isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > LOG_SPAN * min(finite)
