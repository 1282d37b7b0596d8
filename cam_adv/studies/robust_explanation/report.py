"""How often each attack stays concealed from each explanation: a file for programs, a table and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cam_adv.metrics.intervals import Rate
from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE, LEGEND
from cam_adv.reports.console import console, new_table, print_table
from cam_adv.studies.robust_explanation.concealment import Concealment
from cam_adv.studies.robust_explanation.control import SIGNIFICANCE

Findings = dict[str, dict[str, Concealment]]
"""Attack or control → explanation → what was measured."""

TOO_FEW = "too few"
"""In place of a rate where there are too few maps for a detector."""

UNKNOWN = Rate(np.nan, np.nan, np.nan)
"""Of which no bar is drawn."""

BARS = 0.8
"""Width of all bars of an attack, in distances between attacks."""


def warnings_about(findings: Findings, p_values: Mapping[str, float | None], folds: int) -> list[str]:
    """A sentence on each explanation that gives more alarms on the very images that were attacked than by chance.

    And one on rates that are not known.

    Args:
        p_values: explanation → corrected p-value of the control with x itself; None where it is not known.
        folds: of the detectors of maps.
    """
    warnings = [
        f"{name} gives more alarms on unattacked images than on honest ones (p = {p:.2g}): its alarms about attacks "
        "say little."
        for name, p in p_values.items()
        if p is not None and p <= SIGNIFICANCE
    ]
    if any(
        None in (one.concealed, one.false_alarms) for of_attack in findings.values() for one in of_attack.values()
    ):
        warnings.append(
            f"{TOO_FEW}: a detector of maps needs maps of successful attacks from study.folds={folds} starts or "
            "more, and enough of honest images for its threshold; without it the alarms are not known."
        )
    return warnings


def findings_to_json(
    findings: Findings, counts: Mapping[str, int], p_values: Mapping[str, float | None], warnings: Sequence[str]
) -> dict[str, Any]:
    """The content of `robust_explanation.json`.

    Args:
        counts: of the images in each part. p_values: as `warnings_about`.
    """
    measured = {
        name: {key: asdict(one) for key, one in by_attribution.items()} for name, by_attribution in findings.items()
    }
    return {**counts, "warnings": list(warnings), "unchanged_p": dict(p_values), "attacks": measured}


def print_concealment(findings: Findings, heading: str, warnings: Sequence[str]) -> None:
    """Print a row for each explanation under each attack and control."""
    table = new_table(heading)
    table.add_column("attack", overflow="fold")
    table.add_column("explanation", overflow="fold")
    table.add_column("concealed: read as y',\nkept as y, no alarm", no_wrap=True)
    table.add_column("difference\n(paired)", no_wrap=True)
    table.add_column("abstains", no_wrap=True)
    table.add_column("false\nalarms", no_wrap=True)
    for name, by_attribution in findings.items():
        table.add_section()
        for number, (key, one) in enumerate(by_attribution.items()):
            difference = one.difference
            table.add_row(
                "" if number else name,
                key,
                TOO_FEW if one.concealed is None else str(one.concealed),
                ""
                if difference is None
                else f"{difference.estimate:+.0%} ({100 * difference.low:+.0f} to {difference.high:+.0%})",
                f"{one.abstained.rate:.0%}" if one.abstained.rate else "",
                TOO_FEW if one.false_alarms is None else str(one.false_alarms),
            )
    print_table(table)
    for text in warnings:
        console().print(text)


def concealment_figure(findings: Findings, heading: str) -> Figure:
    """A group of bars for each attack and control, a bar for each explanation, with 95% intervals.

    Where a rate is not known it says so instead.
    """
    names = list(next(iter(findings.values())))
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    axes = figure.subplots()
    groups, width = np.arange(len(findings)), BARS / len(names)
    for number, name in enumerate(names):
        measured = [of_attack[name].concealed for of_attack in findings.values()]
        places = groups + (number - (len(names) - 1) / 2) * width
        for place in places[[rate is None for rate in measured]]:
            axes.text(place, 0.01, TOO_FEW, size=5, rotation=90, ha="center", va="bottom", color=GRAY)
        rates = [UNKNOWN if rate is None else rate for rate in measured]
        shares = np.array([rate.rate for rate in rates])
        errors = np.abs([[rate.low, rate.high] for rate in rates] - shares[:, None]).T
        color, hatched = COLORS[number % len(COLORS)], number >= len(COLORS)
        axes.bar(places, shares, 0.9 * width, color=color, alpha=0.6, hatch="//" if hatched else None, label=name)
        axes.errorbar(places, shares, errors, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    axes.set_xticks(groups, [name.replace("_", "\n") for name in findings])
    axes.set_ylabel("concealed: read as y', kept as y,\nand no alarm by the explanation", size=7)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(0, 1.05)
    axes.tick_params(labelsize=6.5, color=GRAY)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=len(names), **LEGEND)
    return figure
