"""The false positives that Type I pictures cause: as content of the study's JSON, a table, sentences and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cam_adv.metrics.intervals import Interval, Rate, mixed_rate
from cam_adv.plots.style import COLORS, DASHES, GRAY, HEADING_SIZE, LEGEND
from cam_adv.reports.console import new_table, print_table
from cam_adv.studies.attack_comparison.false_positives import FalsePositives, FalsePositiveTable, Question

PANEL = (2.6, 2.2)  # inches
LOWEST, HIGHEST = 0.002, 1.3
"""Of both axes, which are logarithmic: the smallest rate and prevalence that are drawn, and where the axis ends."""
POINTS = 60  # of a curve


def false_positives_content(table: FalsePositiveTable, class_names: Sequence[str]) -> dict[str, Any]:
    """The part "false_positives" of `attack_comparison.json`: prevalences, clean rates, attacks and controls."""

    def by_class(of: Mapping[Question, Rate] | Mapping[Question, FalsePositives]) -> dict[str, Any]:
        classes = {name: asdict(of[number]) for number, name in enumerate(class_names)}
        return {"all": asdict(of[None]), "classes": classes}

    return {
        "prevalences": list(table.prevalences),
        "attacks": list(table.attacks),
        "clean": by_class(table.clean),
        "pictures": {name: by_class(of) for name, of in table.pictures.items()},
        "beyond_controls": {
            attack: {control: None if found is None else asdict(found) for control, found in of.items()}
            for attack, of in table.beyond_controls().items()
        },
    }


def print_false_positives(table: FalsePositiveTable, target_fpr: float, level: float) -> None:
    """Print a row for each set of pictures, over all classes, with a column for each prevalence, and sentences."""
    shown = new_table("false positives of Type I pictures, over all classes", compact=True)
    shown.add_column("pictures", no_wrap=True)
    shown.add_column("read as y'\nleft out", justify="right")
    shown.add_column("pass as y", justify="right", no_wrap=True)
    shown.add_column("minus FPR\nof clean images", justify="right", no_wrap=True)
    for prevalence in table.prevalences:
        shown.add_column(f"FPR at\n{prevalence:.1%} of negatives", justify="right")
    shown.add_row("clean images", "", _rate_text(table.clean[None]), "")
    for name, of in table.pictures.items():
        found = of[None]
        cells = [_rate_text(rate) for rate in found.fpr or ()]
        passing = "none is read" if found.passing is None else _rate_text(found.passing)
        excess = "" if found.excess is None else _difference_text(found.excess).replace(" ", "\n", 1)
        shown.add_row(name, f"{found.pictures}\n{found.left_out}", passing, excess, *cells)
    print_table(shown)
    low, high = table.thresholds.sigmoid().aminmax()
    print(
        f"The thresholds, which {target_fpr:.1%} of the other classes' validation images exceed, are probabilities "
        f"from {low:.2g} to {high:.2g}. That attacked pictures pass these is the attack's own criterion, where it "
        f"asks the victim for more; the controls are pictures of y' that nobody attacked. {level:.0%} intervals."
    )
    for text in control_texts(table):
        print(text)


def control_texts(table: FalsePositiveTable) -> list[str]:
    """A sentence for each attack and control: how much more often the attack's pictures pass."""
    return [
        f"{attack} passes {_difference_text(found)} more often than {control}."
        if found is not None
        else f"{attack} can't be compared with {control}: the judge reads y' in none of the pictures of one."
        for attack, of in table.beyond_controls().items()
        for control, found in of.items()
    ]


def false_positives_figure(table: FalsePositiveTable, heading: str) -> Figure:
    """A panel for each set of pictures: FPR against their prevalence among the negatives.

    Thick: all classes with the interval as a band; thin: each class. The dotted line is the rate of clean images.
    Both axes are logarithmic; a rate of 0 lies below the panel.
    """
    figure = Figure(figsize=(PANEL[0] * len(table.pictures) + 0.3, PANEL[1] + 0.5), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, len(table.pictures), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, of) in zip(panels, table.pictures.items(), strict=True):
        _draw_panel(axes, of, table.clean, COLORS[1] if name in table.attacks else COLORS[0])
        axes.set_title(name, size=7.5, loc="left")
        axes.set_xlabel("share of the negatives", size=7)
    panels[0].set_ylabel("false positive rate", size=7)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=4, **LEGEND)
    return figure


def _draw_panel(
    axes: Axes, of: Mapping[Question, FalsePositives], clean: Mapping[Question, Rate], color: str
) -> None:
    shares = [LOWEST ** (1 - step / (POINTS - 1)) for step in range(POINTS)]
    axes.set(xscale="log", yscale="log", xlim=(LOWEST, 1), ylim=(LOWEST, HIGHEST))
    axes.axhline(clean[None].rate, color=COLORS[3], linewidth=0.8, linestyle=DASHES[3], label="clean images")
    label = "one class"
    for question, found in of.items():
        if found.passing is None:
            continue
        if question is not None:
            rates = [mixed_rate(share, found.passing, clean[question]).rate for share in shares]
            axes.plot(shares, rates, color=color, linewidth=0.5, alpha=0.5, label=label)
            label = "_nolegend_"
            continue
        mixed = [mixed_rate(share, found.passing, clean[None]) for share in shares]
        axes.fill_between(shares, [one.low for one in mixed], [one.high for one in mixed], color=color, alpha=0.2)
        axes.plot(shares, [one.rate for one in mixed], color=color, linewidth=1.8, label="all classes, with interval")
    if of[None].passing is None:
        axes.text(0.5, 0.5, "the judge reads y'\nin none", transform=axes.transAxes, ha="center", size=7, color=GRAY)
    axes.tick_params(labelsize=6.5, color=GRAY)
    axes.grid(linewidth=0.4, alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)


def _rate_text(rate: Rate) -> str:
    return f"{rate.rate:.1%}\n{100 * rate.low:.1f} to {rate.high:.1%}"


def _difference_text(difference: Interval) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{difference.estimate:+.1%} ({low:+.1f} to {high:+.1f})"
