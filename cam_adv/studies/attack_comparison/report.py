"""How Type II attacks shift the operating point of each class, as content of a file, a figure and a table."""

from collections.abc import Sequence
from dataclasses import asdict
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from cam_adv.metrics.intervals import Interval
from cam_adv.plots.style import COLORS, DASHES, GRAY, HEADING_SIZE, LEGEND
from cam_adv.reports.console import new_table, print_table
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig
from cam_adv.studies.attack_comparison.operating_point import (
    ClassCurves,
    CleanOperatingPoint,
    Curve,
    OperatingPointShift,
)

PANELS_PER_ROW = 5
PANEL_SIDE = 1.44  # inches
ARROW_SPACING = 3.0  # points between arrows
MIN_HEAD_LENGTH = 0.08  # of a panel, the length from which an arrow has a head
TICKS = (0.01, 0.1, 0.3, 1)


def attack_comparison_content(
    curves: Sequence[ClassCurves], class_names: Sequence[str], config: AttackComparisonConfig
) -> dict[str, Any]:
    """The content of `attack_comparison.json`: the verdicts, then each class's clean curve and shifts by attack."""
    return {
        "verdict_texts": verdict_texts(curves, class_names, config.level),
        "level": config.level,
        "target_fpr": config.target_fpr,
        "images_per_class": config.images,
        "classes": {
            name: {
                "clean": _record(of_class.clean),
                "attacks": {attack: _record(shift) for attack, shift in of_class.shifts.items()},
            }
            for name, of_class in zip(class_names, curves, strict=True)
        },
    }


def verdict_texts(curves: Sequence[ClassCurves], class_names: Sequence[str], level: float) -> list[str]:
    """Which classes' intervals do not exclude zero: each interval individually, and all of them simultaneously."""
    count = sum(len(of_class.shifts) for of_class in curves)
    return [
        f"At {level:.0%} for each interval, {_without_shift(curves, class_names, 'change')}.",
        f"At {level:.0%} for all {count} of them together (Bonferroni), "
        f"{_without_shift(curves, class_names, 'simultaneous')}.",
    ]


def print_attack_comparison(
    curves: Sequence[ClassCurves], class_names: Sequence[str], config: AttackComparisonConfig, heading: str
) -> None:
    """Print a row for each class, with its clean operating point and the shift by each attack, and the verdicts."""
    table = new_table(heading, compact=True)
    table.add_column("is it a …?")
    table.add_column("clean\nTPR, FPR", justify="right")
    for name in curves[0].shifts:
        table.add_column(f"TPR under\n{name}, change", justify="right")
    for name, of_class in zip(class_names, curves, strict=True):
        clean = of_class.clean
        cells = [_cell(shift) for shift in of_class.shifts.values()]
        table.add_row(name, f"{clean.tpr.rate:.1%}\n{clean.fpr.rate:.1%}", *cells)
    print_table(table)
    print(
        f"At the threshold that {config.target_fpr:.1%} of the other classes' validation images exceed, with "
        f"{config.level:.0%} intervals (Newcombe). The attacked images replace the positives."
    )
    for text in verdict_texts(curves, class_names, config.level):
        print(text)


def attack_comparison_figure(curves: Sequence[ClassCurves], class_names: Sequence[str], heading: str) -> Figure:
    """A panel for each class: the clean ROC curve, that under each attack, and arrows down from the operating point.

    The axis of the false positive rate has a square root scale, which magnifies the region of the clean curve.
    """
    columns = min(PANELS_PER_ROW, len(curves))
    rows = ceil(len(curves) / columns)
    figure = Figure(figsize=(PANEL_SIDE * columns + 0.4, (PANEL_SIDE + 0.1) * rows + 0.75), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, name, of_class in zip(panels, class_names, curves, strict=False):
        _draw_panel(axes, of_class)
        axes.set_title(f"is it a {name}?", size=8, loc="left")
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[len(curves) - columns : len(curves)]:
        axes.set_xlabel("false positive rate", size=7)
    for axes in panels[::columns]:
        axes.set_ylabel("true positive rate", size=7)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, **LEGEND)
    return figure


def _draw_panel(axes: Axes, of_class: ClassCurves) -> None:
    clean = of_class.clean
    point = (clean.fpr.rate, clean.tpr.rate)
    axes.set_xscale("function", functions=(lambda rate: abs(rate) ** 0.5, lambda root: root**2))
    axes.set(xlim=(0, 1), ylim=(0, 1.04), xticks=TICKS, yticks=(0, 0.5, 1))
    axes.set_xticklabels([f"{tick:g}" for tick in TICKS])
    axes.tick_params(labelsize=6, color=GRAY)
    axes.spines[["top", "right"]].set_visible(False)
    _draw_curve(axes, clean.curve, "clean", COLORS[3], "-")
    for number, (name, shift) in enumerate(of_class.shifts.items()):
        color = COLORS[number % 3]
        if shift.after is None or shift.curve is None:
            axes.plot([], [], color=color, label=name)
            continue
        _draw_curve(axes, shift.curve, name, color, DASHES[number // 3])
        _draw_arrow(axes, point, shift.after.rate, color, number * ARROW_SPACING)
    axes.plot(
        *point,
        "o",
        color=COLORS[3],
        markersize=3.5,
        zorder=4,
        label="operating point, shifted along the arrows",
        clip_on=False,
    )


def _draw_curve(axes: Axes, curve: Curve, label: str, color: str, dashes: Any) -> None:
    fpr, tpr = (rates.numpy() for rates in curve)
    axes.plot(fpr, tpr, color=color, linestyle=dashes, linewidth=1.0, alpha=0.8, label=label, clip_on=False)


def _draw_arrow(axes: Axes, start: tuple[float, float], tpr: float, color: str, offset: float) -> None:
    """From a point up or down, offset to the right by some points, so that arrows do not cover each other."""
    coordinates = axes.transData + ScaledTranslation(offset / 72, 0.0, axes.figure.dpi_scale_trans)  # inches
    style = "-|>,head_width=0.18,head_length=0.36" if abs(tpr - start[1]) > MIN_HEAD_LENGTH else "-"
    arrow = {"arrowstyle": style, "color": color, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    end = (start[0], tpr)
    axes.annotate("", end, start, xycoords=coordinates, textcoords=coordinates, arrowprops=arrow, zorder=3)


def _without_shift(curves: Sequence[ClassCurves], class_names: Sequence[str], field: str) -> str:
    """The second half of a verdict, which names the classes whose interval in `field` includes zero."""
    named: dict[str, list[str]] = {}
    for class_name, of_class in zip(class_names, curves, strict=True):
        for attack, shift in of_class.shifts.items():
            interval: Interval | None = getattr(shift, field)
            if interval is None:
                named.setdefault(attack, []).append(f"{class_name} (no image left)")
            elif not interval.excludes_zero:
                named.setdefault(attack, []).append(class_name)
    if not named:
        return "there is no class whose interval does not exclude zero, under any attack"
    listed = "; ".join(f"for {', '.join(classes)} under {attack}" for attack, classes in named.items())
    return f"the interval does not exclude zero {listed}"


def _cell(shift: OperatingPointShift) -> str:
    if shift.after is None or shift.change is None:
        return f"no image left\nof {shift.left_out}"
    left_out = f"\n{shift.left_out} left out" if shift.left_out else ""
    low, high = 100 * shift.change.low, 100 * shift.change.high
    return f"{shift.after.rate:.1%}, {shift.change.estimate:+.1%}\n{low:+.1f} to {high:+.1f}%{left_out}"


def _record(measured: CleanOperatingPoint | OperatingPointShift) -> dict[str, Any]:
    """A dataclass for JSON, its curve as lists."""
    content = {name: value for name, value in asdict(measured).items() if name != "curve"}
    if measured.curve is not None:
        content["curve"] = {name: rates.tolist() for name, rates in zip(("fpr", "tpr"), measured.curve, strict=True)}
    return content
