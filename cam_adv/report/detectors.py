"""What detectors see of each attack, as files for programs, a picture and a table."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cam_adv.evaluation.intervals import Interval
from cam_adv.kinds.detectors import CLEAN, Comparison, Detection, Sighting
from cam_adv.report.files import write_summary
from cam_adv.report.style import COLORS, DPI, HEADING_SIZE, QUIET
from cam_adv.settings import Kind, KindsSettings
from cam_adv.writing import write_whole

PANEL, ROW = 1.4, 0.22  # inches
KIND_COLORS = {"type1": COLORS[1], "type2": COLORS[0]}
RULE = (
    "A detector sees Type I where the whole interval lies at {seen_from:g} or above. It does not where the whole "
    "interval lies below that and below the interval of the Type II attack. It sees neither where both intervals lie "
    "below {seen_from:g}; the rest is undecided."
)


def report_detectors(detection: Detection, plan: KindsSettings, index: Tensor, folder: Path) -> None:
    """`detectors.csv`, `detectors.json`, `figures/detectors.png` and the table, in the run's folder.

    Args:
        index: which test image each row is of, `(N,)`.
    """
    seen_from, kinds = plan.detectors.seen_from, {name: attack.kind for name, attack in plan.attacks.items()}
    write_scores(detection, index, folder / "detectors.csv")
    write_summary(detectors_content(detection, seen_from), folder / "detectors.json")
    told = [one for one in detection.comparisons if one.areas is not None]
    detectors_figure(told, kinds).savefig(folder / "figures" / "detectors.png", dpi=DPI)
    print_detectors(detection, seen_from)


def write_scores(detection: Detection, index: Tensor, path: Path) -> None:
    """`detectors.csv`: a line for each picture of each image, with every detector's score.

    `counted` is 0 where the attack failed on the image: those are left out of its areas.

    Args:
        index: which test image each row is of, `(N,)`.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "index", "counted", *next(iter(detection.scores.values()))])
    for picture, scores in detection.scores.items():
        counted = detection.counted.get(picture)
        for row, number in enumerate(index.tolist()):
            answer = 1 if counted is None else int(counted[row])
            writer.writerow([picture, number, answer, *(f"{float(of[row]):.9g}" for of in scores.values())])
    write_whole(path, text.getvalue())


def detectors_content(detection: Detection, seen_from: float) -> dict[str, Any]:
    """What `detectors.json` holds: the rule, a sentence for each detector, the areas."""
    return {
        "rule": RULE.format(seen_from=seen_from),
        "answers": [asdict(one) | {"sentence": sentence(one)} for one in detection.sightings],
        "areas": [asdict(one) for one in detection.comparisons],
    }


def sentence(sighting: Sighting) -> str:
    """What a detector sees, with its areas."""
    what = {
        "sees": f"sees {sighting.attack}",
        "does not see": f"does not see {sighting.attack}",
        "sees neither": f"sees neither {sighting.attack} nor {sighting.beside}",
        "undecided": f"leaves undecided whether it sees {sighting.attack}",
    }
    fooled = (
        f", and takes {sighting.attack} for less suspicious than clean images" if sighting.area.high < 0.5 else ""
    )
    return (
        f"{sighting.detector} {what[sighting.answer]}{fooled}: AUC {_area(sighting.area)}, beside "
        f"{_area(sighting.area_beside)} for {sighting.beside}; against reconstructions {_area(sighting.area_drawn)}."
    )


def print_detectors(detection: Detection, seen_from: float) -> None:
    """A line for each comparison, a column for each detector, then the sentences."""
    table = Table(
        title="what detectors tell apart: AUC (below 0.5: suspects look less suspicious)",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    detectors = list(detection.scores[CLEAN])
    table.add_column("suspects\nagainst", no_wrap=True)
    table.add_column("images")
    for name in detectors:
        table.add_column(name.replace(" ", "\n"), no_wrap=True)
    for one in detection.comparisons:
        areas = one.areas
        cells = ["too few" if areas is None else _cell(areas[name]) for name in detectors]
        table.add_row(f"{one.suspects}\n{one.others}", str(one.images), *cells)
    Console().print(table)
    for sighting in detection.sightings:
        print(sentence(sighting))
    print(RULE.format(seen_from=seen_from))


def detectors_figure(comparisons: Sequence[Comparison], kinds: Mapping[str, Kind]) -> Figure:
    """A panel for each detector, a line for each comparison: the area and its interval.

    Filled: against clean images; open: against reconstructions.

    Args:
        comparisons: with areas.
        kinds: of the attacks, by name; their colours.
    """
    detectors = list(comparisons[0].areas or {}) if comparisons else []
    size = (PANEL * max(1, len(detectors)) + 1.9, ROW * len(comparisons) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    heading = "What detectors tell apart: left of 0.5 the suspects look less suspicious"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    labels = [f"{one.suspects} against {one.others}" for one in comparisons]
    panels = figure.subplots(1, max(1, len(detectors)), sharey=True, squeeze=False)[0]
    for axes, detector in zip(panels, detectors, strict=False):
        axes.axvline(0.5, color=QUIET, linewidth=0.7)
        for row, one in enumerate(comparisons):
            area, color = (one.areas or {})[detector], KIND_COLORS.get(kinds.get(one.suspects, ""), COLORS[3])
            filled = color if one.others == CLEAN else "white"
            axes.plot([area.low, area.high], [row, row], color=color, linewidth=1.4, solid_capstyle="butt")
            axes.plot(area.estimate, row, "o", color=color, markerfacecolor=filled, markersize=4, clip_on=False)
        axes.set_title(detector, size=7.5, loc="left")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(labelsize=6.5, color=QUIET)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", linewidth=0.4, alpha=0.4)
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.supxlabel("area under the ROC curve", size=6.5)
    return figure


def _cell(area: Interval) -> str:
    return f"{area.estimate:.2f}\n{area.low:.2f}–{area.high:.2f}"


def _area(area: Interval) -> str:
    return f"{area.estimate:.2f} ({area.low:.2f} to {area.high:.2f})"
