"""The figure of a sweep: the funnel from an attempt to a success over the swept keys.

A numeric key, alone or beside a second key with few values, gives lines with 95% intervals. Two other keys give a
heat map of the success rate. Anything else gives one point per job.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from cam_adv.metrics.funnel import JUDGE, VICTIM, judge_rate, victim_rate
from cam_adv.metrics.intervals import Rate
from cam_adv.metrics.summary import AttackSummary
from cam_adv.plots.style import COLORS, DASHES, GRAY, HEADING_SIZE, LEGEND, LOG_SPAN, PANEL
from cam_adv.sweep.jobs import Job, Sweep, Value, format_value

PANELS = ("success", "victim", "plausible", "judge")
ROW, CELL = 0.19, 0.5  # inches
ERROR_BARS: dict[str, Any] = {"markersize": 3.5, "linewidth": 1.3, "elinewidth": 0.9, "capsize": 2}

Results = Sequence[tuple[Job, AttackSummary]]


def sweep_figure(sweep: Sweep) -> Figure:
    """The jobs that have a result as a figure.

    Raises:
        ValueError: no job has one.
    """
    results = sweep.results
    if not results:
        raise ValueError("no job of the sweep has a result to draw")
    jobs, keys = [job for job, _ in results], sweep.keys
    places = {tuple(job.values.get(key) for key in keys) for job in jobs}
    if len(keys) > 2 or len(places) < len(jobs):  # jobs with equal values would be drawn on top of each other
        return _points(results, keys)
    axis = find_axis(jobs, keys)
    if axis is not None:
        return _lines(results, axis, next((key for key in keys if key != axis), None))
    return _heat_map(results, *keys) if len(keys) == 2 else _points(results, keys)


def find_axis(jobs: Sequence[Job], keys: Sequence[str]) -> str | None:
    """The key for the x axis: the numeric key with most values for which the other key needs few lines."""
    values = {key: distinct_values(jobs, key) for key in keys}
    numeric = [key for key in keys if len(values[key]) > 1 and all(map(_is_number, values[key]))]
    for axis in sorted(numeric, key=lambda key: -len(values[key])):
        if all(len(values[key]) <= len(COLORS) for key in keys if key != axis):
            return axis
    return None


def _lines(results: Results, axis: str, other: str | None) -> Figure:
    """Lines over the values of `axis`, which are numbers, one per value of the `other` key."""
    figure, panels = _panels(axis, results)
    jobs = [job for job, _ in results]
    for number, value in enumerate(distinct_values(jobs, other) if other else [None]):
        of_value = [(job, summary) for job, summary in results if not other or job.values.get(other) == value]
        line = sorted(((number_of(job, axis), summary) for job, summary in of_value), key=lambda point: point[0])
        x = [point for point, _ in line]
        style = ERROR_BARS | {"color": COLORS[number], "linestyle": DASHES[number], "label": format_value(value)}
        for axes, name in zip(panels, PANELS, strict=True):
            rates = [panel_rate(summary, name) for _, summary in line]
            axes.errorbar(x, [rate.rate for rate in rates], yerr=_error_lengths(rates), marker="o", **style)
    for axes in panels:
        _scale(axes, sorted({number_of(job, axis) for job in jobs}))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylim(-0.03, 1.03)
        axes.grid(axis="y", linewidth=0.4, alpha=0.4)
    if other:
        entries = panels[0].get_legend_handles_labels()
        figure.legend(*entries, title=other, title_fontsize=6.5, loc="outside right upper", **LEGEND)
    return figure


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Scale the x axis for sorted numbers: logarithmic if they span decades, else with a tick at each if they fit."""
    span = values[-1] - values[0]
    if values[0] > 0 and values[-1] > LOG_SPAN * values[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif min(high - low for low, high in pairwise(values)) >= span / 8:
        axes.set_xticks(values, map(format_value, values))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=all(isinstance(value, int) for value in values)))


def _points(results: Results, keys: Sequence[str]) -> Figure:
    """One row of points per job, from top to bottom in the order of the jobs."""
    figure, panels = _panels("rate", results, height=0.75 + ROW * len(results))
    rows = range(len(results))
    labels = [", ".join(format_value(job.values.get(key)) for key in keys) or job.folder for job, _ in results]
    for axes, name in zip(panels, PANELS, strict=True):
        rates = [panel_rate(summary, name) for _, summary in results]
        axes.errorbar(
            [rate.rate for rate in rates], rows, xerr=_error_lengths(rates), fmt="o", color=COLORS[0], **ERROR_BARS
        )
        axes.set_yticks(rows, labels if axes is panels[0] else [""] * len(results))
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0%", "", "50%", "", "100%"))
        axes.grid(linewidth=0.4, alpha=0.4)
    panels[0].set_ylabel("\n".join(keys), size=7)
    return figure


def _heat_map(results: Results, row_key: str, column_key: str) -> Figure:
    """The success rate with its interval in each cell; cells without a result are blank."""
    jobs = [job for job, _ in results]
    rows, columns = distinct_values(jobs, row_key), distinct_values(jobs, column_key)
    size = (1.6 + 1.3 * CELL * len(columns), 0.9 + CELL * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    rates = np.full((len(rows), len(columns)), np.nan)
    for job, summary in results:
        row, column = rows.index(job.values.get(row_key)), columns.index(job.values.get(column_key))
        rate = summary.rates["success"]
        rates[row, column] = rate.rate
        text = f"{rate.rate:.0%}\n{100 * rate.low:.0f}–{100 * rate.high:.0f}"
        color = "black" if rate.rate > 0.5 else "white"
        axes.text(column, row, text, ha="center", va="center", size=6.5, linespacing=1.15, color=color)
    image = axes.imshow(rates, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_title("success, with 95% intervals", size=HEADING_SIZE, weight="bold", loc="left", pad=6)
    axes.set_ylabel(row_key, size=8)
    axes.set_xlabel(column_key, size=8)
    axes.set_yticks(range(len(rows)), [format_value(value) for value in rows], size=7)
    axes.set_xticks(range(len(columns)), [format_value(value) for value in columns], size=7)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, pad=0.03)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)
    return figure


def _panels(x_label: str, results: Results, height: float = PANEL[1] + 0.25) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(PANEL[0] * len(PANELS), height), layout="constrained")
    figure.suptitle("sweep: rates with 95% intervals", size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = [figure.add_subplot(1, len(PANELS), position + 1) for position in range(len(PANELS))]
    for axes, title in zip(panels, panel_titles(results), strict=True):
        axes.set_title(title, size=8, loc="left")
        axes.set_xlabel(x_label, size=7)
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def panel_rate(summary: AttackSummary, panel: str) -> Rate:
    if panel == "victim":
        return victim_rate(summary.kind, summary.rates)
    return judge_rate(summary.kind, summary.rates) if panel == "judge" else summary.rates[panel]


def panel_titles(results: Results) -> tuple[str, str, str, str]:
    """The titles of `PANELS`: the questions of the kind of attack, or general ones if the kinds differ."""
    kinds = {summary.kind for _, summary in results}
    if len(kinds) > 1:
        return "success", "the victim does as asked", "plausible", "the judge reads as asked"
    (kind,) = kinds
    return "success", VICTIM[kind], "plausible: the judge reads a class", JUDGE[kind]


def distinct_values(jobs: Sequence[Job], key: str) -> list[Value]:
    """The distinct values of a key: sorted if all are numbers, else in the order of the jobs."""
    values = list(dict.fromkeys(job.values.get(key) for job in jobs))
    return sorted(values) if all(map(_is_number, values)) else values  # type: ignore[type-var]


def number_of(job: Job, key: str) -> float:
    """The value of a key whose values are numbers."""
    value = job.values[key]
    assert isinstance(value, int | float)
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _error_lengths(rates: Sequence[Rate]) -> np.ndarray:
    """The lengths of the error bars below and above the rates, (2, N)."""
    lengths = [(rate.rate - rate.low, rate.high - rate.rate) for rate in rates]
    return np.maximum(0, np.array(lengths).T)  # rounding may put an end slightly inside
