"""How little can fool the victim, as a file for programs, a picture and a table."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cam_adv.bound.bracket import Bracket
from cam_adv.report.style import COLORS, DPI, HEADING_SIZE, LEGEND, PANEL, QUIET
from cam_adv.settings import Norm
from cam_adv.writing import write_whole

NORMS = {"l1": "L1", "l2": "L2", "linf": "L∞"}
CAUTION = "CLEVER is an estimate, not a certificate: a smaller perturbation may exist even where none was found."


def write_bound(
    brackets: Mapping[Norm, Bracket], index: Tensor, y: Tensor, class_names: Sequence[str], path: Path
) -> None:
    """`bound.csv`: one row for each image and norm.

    `clever` is the untargeted bound, which `nearest` decides, with its `margin`, `lipschitz` constant and `p` of the
    fit; `clever <class>` the targeted ones, empty for the image's own class. `found` is empty where nothing was.
    """
    text = StringIO()
    targeted = [f"clever {name}" for name in class_names]
    columns = ["index", "y", "norm", "clever", "nearest", "margin", "lipschitz", "p", "poor_fit", "at_radius"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "found", "attack", "exceeds", *targeted])
    for norm, bracket in brackets.items():
        estimate, found = bracket.estimate, bracket.found
        for row in range(len(index)):
            nearest = int(estimate.nearest[row])
            values = (estimate.margin[row, nearest], estimate.lipschitz[row, nearest], bracket.p[row])
            answers = (bracket.poor[row], bracket.at_radius[row])
            writer.writerow(
                [
                    int(index[row]),
                    class_names[y[row]],
                    norm,
                    _number(estimate.untargeted[row]),
                    class_names[nearest],
                    *map(_number, values),
                    *map(int, answers),
                    _number(found.distance[row]),
                    found.attack[row],
                    int(bracket.exceeds[row]),
                    *map(_number, estimate.targeted[row]),
                ]
            )
    write_whole(path, text.getvalue())


def bound_content(brackets: Mapping[Norm, Bracket]) -> dict[str, Any]:
    """What `bound.json` holds: the caution, then a summary for each norm."""
    return {"caution": CAUTION, **{norm: bracket.summary() for norm, bracket in brackets.items()}}


def bound_figure(brackets: Mapping[Norm, Bracket], heading: str) -> Figure:
    """A panel for each norm: every image's stretch from CLEVER to the nearest found, ordered by what was found.

    Images of which nothing was found stand at the right, without an upper end.
    """
    figure = Figure(figsize=(PANEL[0] * len(brackets) + 0.3, 1.4 * PANEL[1]), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    for number, (norm, bracket) in enumerate(brackets.items()):
        axes = figure.add_subplot(1, len(brackets), number + 1)
        order = bracket.found.distance.argsort(stable=True)
        place, exceeds = torch.arange(len(order)), bracket.exceeds[order]
        found, clever = bracket.found.distance[order], bracket.estimate.untargeted[order]
        known = found.isfinite()
        axes.vlines(place[known], clever[known], found[known], color=QUIET, linewidth=0.5, alpha=0.5)
        axes.plot(place[known], found[known], ".", color=COLORS[1], markersize=3, label="nearest found")
        axes.plot(place[~exceeds], clever[~exceeds], ".", color=COLORS[0], markersize=3, label="CLEVER's estimate")
        axes.plot(place[exceeds], clever[exceeds], "x", color=COLORS[3], markersize=4, label="larger than found")
        axes.set_title(NORMS[norm], size=8, loc="left")
        axes.set_xlabel("images, by what was found", size=7)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=6.5, color=QUIET)
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.set_ylabel("size of the perturbation", size=7)
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def draw_bound(brackets: Mapping[Norm, Bracket], heading: str, path: Path) -> None:
    """Write the brackets as a picture to path; see bound_figure."""
    bound_figure(brackets, heading).savefig(path, dpi=DPI)


def print_bound(brackets: Mapping[Norm, Bracket], heading: str) -> None:
    """A line for each norm, and what the estimate is not."""
    table = Table(title=heading, title_justify="left", title_style="bold")
    for name in ("norm", "CLEVER", "found", "ratio", "exceeds (95% interval)", "poor fits", "found by"):
        table.add_column(name)
    for norm, bracket in brackets.items():
        summary, rates = bracket.summary(), bracket.rates()
        exceeds = rates["exceeds"]
        table.add_row(
            NORMS[norm],
            *(
                "none" if value is None else f"{value:.3g}"
                for value in (summary[f"median_{name}"] for name in ("clever", "found", "ratio"))
            ),
            f"{exceeds.rate:.1%} ({exceeds.low:.1%} to {exceeds.high:.1%})",
            f"{rates['poor_fit'].rate:.1%}",
            ", ".join(f"{name} {count}" for name, count in summary["found_by"].items()),
        )
    Console().print(table)
    print(f"Medians over images. {CAUTION}")


def _number(value: Tensor) -> str:
    """Six digits; nothing for what there isn't."""
    return f"{float(value):.6g}" if value.isfinite() else ""
