"""The bounds of the smallest perturbation, as files for programs, a figure and a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.models.lp_balls import Norm
from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE, LEGEND, PANEL
from cam_adv.reports.console import new_table, print_table
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.runtime.csv_text import csv_text
from cam_adv.studies.min_perturbation.bounds import PerturbationBounds

NORMS: dict[Norm, str] = {"l1": "L1", "l2": "L2", "linf": "L∞"}
CAUTION = "CLEVER is an estimate, not a certificate: a smaller perturbation may exist even where none was found."


def write_bounds(
    bounds: Mapping[Norm, PerturbationBounds], index: Tensor, y: Tensor, class_names: Sequence[str], path: Path
) -> None:
    """`min_perturbation.csv`: one row for each image and norm.

    `clever` is the untargeted bound, that of class `nearest`, with this class's `margin`, `lipschitz` constant and
    `p_value` of the fit; the columns `clever <class>` are the targeted bounds, empty for the image's own class.
    `found` is the perturbation found by `attack`; both are empty where none was found.

    Args:
        index: position of each image among the test images, `(N,)`.
        y: their labels, `(N,)`.
    """
    rows = []
    for norm, of_norm in bounds.items():
        estimate, found = of_norm.estimate, of_norm.found
        for row, number in enumerate(index.tolist()):
            nearest = int(estimate.nearest_class[row])
            targeted = zip(class_names, estimate.targeted[row], strict=True)
            rows.append(
                {
                    "index": number,
                    "y": class_names[int(y[row])],
                    "norm": norm,
                    "clever": _number(estimate.untargeted[row]),
                    "nearest": class_names[nearest],
                    "margin": _number(estimate.margin[row, nearest]),
                    "lipschitz": _number(estimate.lipschitz[row, nearest]),
                    "p_value": _number(of_norm.p_value[row]),
                    "poor_fit": int(of_norm.poor_fit[row]),
                    "at_radius": int(of_norm.at_radius[row]),
                    "found": _number(found.distance[row]),
                    "attack": found.attack[row],
                    "exceeds": int(of_norm.exceeds[row]),
                    **{f"clever {name}": _number(value) for name, value in targeted},
                }
            )
    write_atomically(path, csv_text(rows))


def min_perturbation_content(bounds: Mapping[Norm, PerturbationBounds]) -> dict[str, Any]:
    """The content of `min_perturbation.json`: the caution, then a summary for each norm."""
    return {"caution": CAUTION, **{norm: of_norm.summary() for norm, of_norm in bounds.items()}}


def min_perturbation_figure(bounds: Mapping[Norm, PerturbationBounds], heading: str) -> Figure:
    """A panel for each norm: every image's range from CLEVER to the smallest found, ordered by the latter.

    Images for which nothing was found are at the right, without an upper end.
    """
    figure = Figure(figsize=(PANEL[0] * len(bounds) + 0.3, 1.4 * PANEL[1]), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    for number, (norm, of_norm) in enumerate(bounds.items()):
        axes = figure.add_subplot(1, len(bounds), number + 1)
        order = of_norm.found.distance.argsort(stable=True)
        place, exceeds = torch.arange(len(order)), of_norm.exceeds[order]
        found, clever = of_norm.found.distance[order], of_norm.estimate.untargeted[order]
        known = found.isfinite()
        axes.vlines(place[known], clever[known], found[known], color=GRAY, linewidth=0.5, alpha=0.5)
        axes.plot(place[known], found[known], ".", color=COLORS[1], markersize=3, label="smallest found")
        axes.plot(place[~exceeds], clever[~exceeds], ".", color=COLORS[0], markersize=3, label="CLEVER's estimate")
        axes.plot(place[exceeds], clever[exceeds], "x", color=COLORS[3], markersize=4, label="larger than found")
        axes.set_title(NORMS[norm], size=8, loc="left")
        axes.set_xlabel("images, by what was found", size=7)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.set_ylabel("size of the perturbation", size=7)
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def print_min_perturbation(bounds: Mapping[Norm, PerturbationBounds], heading: str) -> None:
    """Print a row for each norm, and the caution."""
    table = new_table(heading)
    for name in ("norm", "CLEVER", "found", "ratio", "exceeds (95% interval)", "poor fits", "found by"):
        table.add_column(name)
    for norm, of_norm in bounds.items():
        summary, rates = of_norm.summary(), of_norm.rates()
        medians = (summary[f"median_{name}"] for name in ("clever", "found", "ratio"))
        exceeds = rates["exceeds"]
        table.add_row(
            NORMS[norm],
            *("none" if value is None else f"{value:.3g}" for value in medians),
            f"{exceeds.rate:.1%} ({exceeds.low:.1%} to {exceeds.high:.1%})",
            f"{rates['poor_fit'].rate:.1%}",
            ", ".join(f"{name} {count}" for name, count in summary["found_by"].items()),
        )
    print_table(table)
    print(f"Medians over images. {CAUTION}")


def _number(value: Tensor) -> str:
    """Six significant digits; empty for inf and NaN."""
    return f"{float(value):.6g}" if value.isfinite() else ""
