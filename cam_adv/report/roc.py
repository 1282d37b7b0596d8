"""Where attacks of both kinds move the ROC curves of "is it a c?", as a file for programs, a picture and a table."""

from collections.abc import Sequence
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cam_adv.evaluation.intervals import Interval
from cam_adv.kinds.movement import ClassCurves, Curve, Movement
from cam_adv.report.style import COLORS, DASHES, DPI, HEADING_SIZE, LEGEND, QUIET
from cam_adv.settings import KindsSettings

PANELS_A_ROW = 5
SIDE = 1.44  # inches of a panel
APART = 3.0  # points between arrows of one kind
HEAD = 0.08  # of a panel, the length from which an arrow has a head
KINDS = {"type1": "Type I", "type2": "Type II"}
RATES = {"type1": "FPR", "type2": "TPR"}
TICKS = (0.01, 0.1, 0.3, 1)


def roc_content(curves: Sequence[ClassCurves], class_names: Sequence[str], plan: KindsSettings) -> dict[str, Any]:
    """What `roc.json` holds: the sentences, then the clean curve of each class and what each attack makes of it."""
    return {
        "sentences": sentences(curves, class_names, plan),
        "level": plan.level,
        "false_alarms": plan.false_alarms,
        "images_of_each_class": plan.images,
        "classes": {
            name: {
                "clean": _record(of_class.clean),
                "attacks": {attack: _record(moved) for attack, moved in of_class.movements.items()},
            }
            for name, of_class in zip(class_names, curves, strict=True)
        },
    }


def sentences(curves: Sequence[ClassCurves], class_names: Sequence[str], plan: KindsSettings) -> list[str]:
    """Which classes' intervals don't exclude zero: each interval by itself, and all of them together."""
    count = len(curves) * len(plan.attacks)
    return [
        f"At {plan.level:.0%} for each interval, {_without_movement(curves, class_names, 'change')}.",
        f"At {plan.level:.0%} for all {count} of them together (Bonferroni), "
        f"{_without_movement(curves, class_names, 'together')}.",
    ]


def print_roc(curves: Sequence[ClassCurves], class_names: Sequence[str], plan: KindsSettings, heading: str) -> None:
    """A line for each class: the clean operating point, and how far each attack moves it."""
    table = Table(title=heading, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("is it a …?")
    table.add_column("clean\nTPR, FPR", justify="right")
    for name, moved in curves[0].movements.items():
        table.add_column(f"{RATES[moved.kind]} under\n{name}, change", justify="right")
    for name, of_class in zip(class_names, curves, strict=True):
        point = of_class.clean
        moved = [_cell(movement) for movement in of_class.movements.values()]
        table.add_row(name, f"{point.tpr.rate:.1%}\n{point.fpr.rate:.1%}", *moved)
    console = Console()
    console.print(table)
    print(
        f"At the threshold that {plan.false_alarms:.1%} of the other classes' validation images pass, with "
        f"{plan.level:.0%} intervals (Newcombe). Type II attacks replace the positives, Type I attacks the negatives."
    )
    for sentence in sentences(curves, class_names, plan):
        print(sentence)


def roc_figure(curves: Sequence[ClassCurves], class_names: Sequence[str], heading: str) -> Figure:
    """A panel for each class: the clean curve, that under each attack, and arrows from the clean operating point.

    The axis of the false positive rate is drawn by its square root, which makes room where the clean curve is.
    """
    columns = min(PANELS_A_ROW, len(curves))
    rows = ceil(len(curves) / columns)
    figure = Figure(figsize=(SIDE * columns + 0.4, (SIDE + 0.1) * rows + 0.75), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, name, of_class in zip(panels, class_names, curves, strict=False):
        _panel(axes, of_class)
        axes.set_title(f"is it a {name}?", size=8, loc="left")
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[len(curves) - columns : len(curves)]:
        axes.set_xlabel("false positive rate", size=7)
    for axes in panels[::columns]:
        axes.set_ylabel("true positive rate", size=7)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, **LEGEND)
    return figure


def draw_roc(curves: Sequence[ClassCurves], class_names: Sequence[str], heading: str, path: Path) -> None:
    """Write the curves as a picture to path; see roc_figure."""
    roc_figure(curves, class_names, heading).savefig(path, dpi=DPI)


def _panel(axes: Axes, of_class: ClassCurves) -> None:
    clean = of_class.clean
    point = (clean.fpr.rate, clean.tpr.rate)
    axes.set_xscale("function", functions=(lambda rate: abs(rate) ** 0.5, lambda root: root**2))
    axes.set(xlim=(0, 1), ylim=(0, 1.04), xticks=TICKS, yticks=(0, 0.5, 1))
    axes.set_xticklabels([f"{tick:g}" for tick in TICKS])
    axes.tick_params(labelsize=6, color=QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    _line(axes, clean.curve, "clean", COLORS[3], "-")
    same_kind = {kind: 0 for kind in KINDS}
    for number, (name, moved) in enumerate(of_class.movements.items()):
        color, place = COLORS[number % 3], same_kind[moved.kind]
        same_kind[moved.kind] += 1
        label = f"{name} ({KINDS[moved.kind]})"
        if moved.after is None or moved.curve is None:
            axes.plot([], [], color=color, label=label)
            continue
        _line(axes, moved.curve, label, color, DASHES[number // 3])
        end = (point[0], moved.after.rate) if moved.kind == "type2" else (moved.after.rate, point[1])
        _arrow(axes, point, end, color, place * APART, across=moved.kind == "type2")
    axes.plot(
        *point,
        "o",
        color=COLORS[3],
        markersize=3.5,
        zorder=4,
        label="operating point, moved along the arrows",
        clip_on=False,
    )


def _line(axes: Axes, curve: Curve, label: str, color: str, dashes: Any) -> None:
    false, true = (rates.numpy() for rates in curve)
    axes.plot(false, true, color=color, linestyle=dashes, linewidth=1.0, alpha=0.8, label=label, clip_on=False)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, aside: float, across: bool
) -> None:
    """From point to point, moved aside by some points, so that arrows of one kind don't cover each other."""
    inches = aside / 72
    figure = axes.figure
    moved = axes.transData + ScaledTranslation(*((inches, 0) if across else (0, -inches)), figure.dpi_scale_trans)
    has_room = abs(end[0] ** 0.5 - start[0] ** 0.5) + abs(end[1] - start[1]) > HEAD
    arrow = "-|>,head_width=0.18,head_length=0.36" if has_room else "-"
    style = {"arrowstyle": arrow, "color": color, "linewidth": 1.4}
    axes.annotate(
        "", end, start, xycoords=moved, textcoords=moved, arrowprops={**style, "shrinkA": 0, "shrinkB": 0}, zorder=3
    )


def _without_movement(curves: Sequence[ClassCurves], class_names: Sequence[str], which: str) -> str:
    """The end of a sentence that names them."""
    named: dict[str, list[str]] = {}
    for class_name, of_class in zip(class_names, curves, strict=True):
        for attack, moved in of_class.movements.items():
            interval: Interval | None = getattr(moved, which)
            if interval is None:
                named.setdefault(attack, []).append(f"{class_name} (no picture left)")
            elif not interval.excludes_zero:
                named.setdefault(attack, []).append(class_name)
    if not named:
        return "there is no class whose interval does not exclude zero, under any attack"
    listed = "; ".join(f"for {', '.join(classes)} under {attack}" for attack, classes in named.items())
    return f"the interval does not exclude zero {listed}"


def _cell(moved: Movement) -> str:
    if moved.after is None or moved.change is None:
        return f"no picture left\nof {moved.left_out}"
    left_out = f"\n{moved.left_out} left out" if moved.left_out else ""
    low, high = 100 * moved.change.low, 100 * moved.change.high
    return f"{moved.after.rate:.1%}, {moved.change.estimate:+.1%}\n{low:+.1f} to {high:+.1f}%{left_out}"


def _record(measured: Any) -> dict[str, Any]:
    """A dataclass for JSON, its curve as lists."""
    content = {name: value for name, value in asdict(measured).items() if name != "curve"}
    if measured.curve is not None:
        content["curve"] = {name: rates.tolist() for name, rates in zip(("fpr", "tpr"), measured.curve, strict=True)}
    return content
