"""The sweep's picture: success, kept and changed against what was swept, with 95% intervals.

A numeric key, alone or beside a second one with few values, gives lines; two other keys give a heat map of success;
anything else a point for each job.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from cam_adv.evaluation.intervals import Rate
from cam_adv.evaluation.questions import CHANGED, KEPT
from cam_adv.report.style import COLORS, DASHES, HEADING_SIZE, LEGEND, LOG_SPAN, PANEL, QUIET
from cam_adv.sweep.jobs import Job, Outcome, Sweep, Value, text_of

PANELS = ("success", "kept", "changed")
ROW, CELL = 0.19, 0.5  # inches
BARS = {"markersize": 3.5, "linewidth": 1.3, "elinewidth": 0.9, "capsize": 2}


def sweep_figure(sweep: Sweep) -> Figure:
    """The jobs that have a result as a figure.

    Raises:
        ValueError: no job has one.
    """
    done = [(job, job.outcome) for job in sweep.jobs if job.outcome is not None]
    if not done:
        raise ValueError("no job of the sweep has a result to draw")
    jobs, keys = [job for job, _ in done], sweep.keys
    places = {tuple(job.values.get(key) for key in keys) for job in jobs}
    if len(keys) > 2 or len(places) < len(jobs):  # two jobs in one place would hide each other
        return _points(done, keys)
    axis = _axis(jobs, keys)
    if axis is not None:
        return _lines(done, axis, next((key for key in keys if key != axis), None))
    return _heat_map(done, *keys) if len(keys) == 2 else _points(done, keys)


def _axis(jobs: Sequence[Job], keys: Sequence[str]) -> str | None:
    """The key that lines run along: the numeric one with most values, if what is left needs few lines."""
    values = {key: _values(jobs, key) for key in keys}
    numeric = [key for key in keys if len(values[key]) > 1 and all(map(_is_number, values[key]))]
    for axis in sorted(numeric, key=lambda key: -len(values[key])):
        if all(len(values[key]) <= len(COLORS) for key in keys if key != axis):
            return axis
    return None


def _lines(done: Sequence[tuple[Job, Outcome]], axis: str, other: str | None) -> Figure:
    figure, panels = _panels(axis, done)
    values = _values([job for job, _ in done], axis)
    for number, value in enumerate(_values([job for job, _ in done], other) if other else [None]):
        line = sorted(
            ((job.values[axis], outcome) for job, outcome in done if not other or job.values.get(other) == value),
            key=lambda point: point[0],
        )
        at = [point for point, _ in line]
        style = BARS | {"color": COLORS[number], "linestyle": DASHES[number], "label": text_of(value)}
        for axes, question in zip(panels, PANELS, strict=True):
            rates = [outcome.rates[question] for _, outcome in line]
            axes.errorbar(at, [rate.rate for rate in rates], yerr=_bars(rates), marker="o", **style)
    for axes in panels:
        _scale(axes, values)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylim(-0.03, 1.03)
        axes.grid(axis="y", linewidth=0.4, alpha=0.4)
    if other:
        entries = panels[0].get_legend_handles_labels()
        figure.legend(*entries, title=other, title_fontsize=6.5, loc="outside right upper", **LEGEND)
    return figure


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """An axis for these sorted numbers: logarithmic where they span decades, else a tick at each if there is room."""
    span = values[-1] - values[0]
    if values[0] > 0 and values[-1] > LOG_SPAN * values[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif min(high - low for low, high in pairwise(values)) >= span / 8:
        axes.set_xticks(values, map(text_of, values))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=all(isinstance(value, int) for value in values)))


def _points(done: Sequence[tuple[Job, Outcome]], keys: Sequence[str]) -> Figure:
    """A row for each job, from top to bottom in their order."""
    figure, panels = _panels("rate", done, height=0.75 + ROW * len(done))
    rows = range(len(done))
    labels = [", ".join(text_of(job.values.get(key)) for key in keys) or job.folder.name for job, _ in done]
    for axes, question in zip(panels, PANELS, strict=True):
        rates = [outcome.rates[question] for _, outcome in done]
        axes.errorbar([rate.rate for rate in rates], rows, xerr=_bars(rates), fmt="o", color=COLORS[0], **BARS)
        axes.set_yticks(rows, labels if axes is panels[0] else [""] * len(done))
        axes.set_ylim(len(done) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0%", "", "50%", "", "100%"))
        axes.grid(linewidth=0.4, alpha=0.4)
    panels[0].set_ylabel("\n".join(keys), size=7)
    return figure


def _heat_map(done: Sequence[tuple[Job, Outcome]], down: str, across: str) -> Figure:
    """Success with its interval in each cell; cells without a result stay blank."""
    jobs = [job for job, _ in done]
    rows, columns = _values(jobs, down), _values(jobs, across)
    size = (1.6 + 1.3 * CELL * len(columns), 0.9 + CELL * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    rates = np.full((len(rows), len(columns)), np.nan)
    for job, outcome in done:
        row, column = rows.index(job.values.get(down)), columns.index(job.values.get(across))
        rate = outcome.rates["success"]
        rates[row, column] = rate.rate
        text = f"{rate.rate:.0%}\n{100 * rate.low:.0f}–{100 * rate.high:.0f}"
        color = "black" if rate.rate > 0.5 else "white"
        axes.text(column, row, text, ha="center", va="center", size=6.5, linespacing=1.15, color=color)
    image = axes.imshow(rates, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_title("success, with 95% intervals", size=HEADING_SIZE, weight="bold", loc="left", pad=6)
    axes.set_ylabel(down, size=8)
    axes.set_xlabel(across, size=8)
    axes.set_yticks(range(len(rows)), [text_of(value) for value in rows], size=7)
    axes.set_xticks(range(len(columns)), [text_of(value) for value in columns], size=7)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, pad=0.03)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)
    return figure


def _panels(
    x: str, done: Sequence[tuple[Job, Outcome]], height: float = PANEL[1] + 0.25
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(PANEL[0] * len(PANELS), height), layout="constrained")
    figure.suptitle("sweep: rates with 95% intervals", size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = [figure.add_subplot(1, len(PANELS), position + 1) for position in range(len(PANELS))]
    kinds = {outcome.kind for _, outcome in done}
    of_one = kinds.pop() if len(kinds) == 1 else None  # what kept and changed ask depends on the kind of attack
    titles = PANELS if of_one is None else ("success", f"kept: {KEPT[of_one]}", f"changed: {CHANGED[of_one]}")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, size=8, loc="left")
        axes.set_xlabel(x, size=7)
        axes.tick_params(labelsize=6.5, color=QUIET)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _values(jobs: Sequence[Job], key: str) -> list[Value]:
    """The values that a key takes: numbers in their order, others as they come."""
    values = list(dict.fromkeys(job.values.get(key) for job in jobs))
    return sorted(values) if all(map(_is_number, values)) else values  # type: ignore[type-var]


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bars(rates: Sequence[Rate]) -> np.ndarray:
    """How far the intervals reach below and above the rates, (2, N)."""
    ends = [(rate.rate - rate.low, rate.high - rate.rate) for rate in rates]
    return np.maximum(0, np.array(ends).T)  # rounding may leave an end a hair inside its rate
