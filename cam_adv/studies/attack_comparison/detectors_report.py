"""What detectors detect of each attack, as files for programs, a figure and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.metrics.intervals import Interval
from cam_adv.plots.drawing import Drawing
from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE
from cam_adv.reports.console import new_table, print_table
from cam_adv.runtime.atomic_files import write_atomically, write_json
from cam_adv.runtime.csv_text import csv_text
from cam_adv.schema.fields import Kind
from cam_adv.studies.attack_comparison.config import DetectorConfig
from cam_adv.studies.attack_comparison.detectors import (
    CLEAN,
    DetectionResults,
    DetectionVerdict,
    DetectorComparison,
)

PANEL_WIDTH, ROW_HEIGHT = 1.4, 0.22  # inches
KIND_COLORS: dict[Kind | None, str] = {"type1": COLORS[1], "type2": COLORS[0]}
RULE = (
    "A detector detects Type I where the whole interval is at {min_auc:g} or above. It does not where the whole "
    "interval is below that and below the interval of the Type II attack. It detects neither where both intervals "
    "are below {min_auc:g}; the rest is undecided."
)


def report_detectors(
    results: DetectionResults,
    kinds: Mapping[str, Kind],
    config: DetectorConfig,
    index: Tensor,
    folder: Path,
    drawing: Drawing,
) -> None:
    """Write `detectors.csv` and `detectors.json` into the run's folder, print the table, and draw `detectors.png`.

    Args:
        kinds: of the attacks.
        index: position of each row's image among the test images, `(N,)`.
    """
    write_detector_scores(results, index, folder / "detectors.csv")
    write_json(folder / "detectors.json", detectors_content(results, config.min_auc))
    print_detectors(results, config.min_auc)
    comparisons = [one for one in results.comparisons if one.aucs is not None]
    drawing.draw("detectors.png", detectors_figure, comparisons, kinds)


def write_detector_scores(results: DetectionResults, index: Tensor, path: Path) -> None:
    """`detectors.csv`: one row for each image of each image set, with every detector's score.

    `compared` is 0 where the attack failed on the image, which excludes it from the attack's comparisons.

    Args:
        index: position of each row's image among the test images, `(N,)`.
    """
    rows = []
    for image_set, scores in results.scores.items():
        success = results.success.get(image_set)
        for row, number in enumerate(index.tolist()):
            compared = 1 if success is None else int(success[row])
            values = {detector: f"{float(of[row]):.9g}" for detector, of in scores.items()}
            rows.append({"image_set": image_set, "index": number, "compared": compared, **values})
    write_atomically(path, csv_text(rows))


def detectors_content(results: DetectionResults, min_auc: float) -> dict[str, Any]:
    """The content of `detectors.json`: the rule, the verdicts with their texts, and the comparisons."""
    return {
        "rule": RULE.format(min_auc=min_auc),
        "verdicts": [asdict(verdict) | {"verdict_text": verdict_text(verdict)} for verdict in results.verdicts],
        "comparisons": [asdict(comparison) for comparison in results.comparisons],
    }


def verdict_text(verdict: DetectionVerdict) -> str:
    """A verdict as a sentence, with its AUCs."""
    statement = {
        "detects": f"detects {verdict.attack}",
        "does not detect": f"does not detect {verdict.attack}",
        "detects neither": f"detects neither {verdict.attack} nor {verdict.reference}",
        "undecided": f"leaves undecided whether it detects {verdict.attack}",
    }[verdict.answer]
    reversed_order = ", and scores it as less adversarial than clean images" if verdict.auc.high < 0.5 else ""
    return (
        f"{verdict.detector} {statement}{reversed_order}: AUC {_auc_text(verdict.auc)}, compared with "
        f"{_auc_text(verdict.reference_auc)} for {verdict.reference}; against reconstructions "
        f"{_auc_text(verdict.reconstruction_auc)}."
    )


def print_detectors(results: DetectionResults, min_auc: float) -> None:
    """Print a row for each comparison with a column for each detector, then the verdicts and their rule."""
    title = "AUC of detectors (below 0.5: positives look less adversarial than negatives)"
    table = new_table(title, compact=True)
    detectors = list(results.scores[CLEAN])
    table.add_column("positives\nnegatives", no_wrap=True)
    table.add_column("images")
    for name in detectors:
        table.add_column(name.replace(" ", "\n"), no_wrap=True)
    for one in results.comparisons:
        aucs = one.aucs
        cells = ["too few" if aucs is None else _cell(aucs[name]) for name in detectors]
        table.add_row(f"{one.positives}\n{one.negatives}", str(one.images), *cells)
    print_table(table)
    for verdict in results.verdicts:
        print(verdict_text(verdict))
    print(RULE.format(min_auc=min_auc))


def detectors_figure(comparisons: Sequence[DetectorComparison], kinds: Mapping[str, Kind]) -> Figure:
    """A panel for each detector with a row for each comparison: the AUC and its interval.

    Filled markers: against clean images; open: against reconstructions.

    Args:
        comparisons: those that have AUCs.
        kinds: of the attacks, by name; they decide the colours.
    """
    detectors = list(comparisons[0].aucs or {}) if comparisons else []
    size = (PANEL_WIDTH * max(1, len(detectors)) + 1.9, ROW_HEIGHT * len(comparisons) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    heading = "AUC of detectors: left of 0.5 positives look less adversarial than negatives"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    labels = [f"{one.positives} against {one.negatives}" for one in comparisons]
    panels = figure.subplots(1, max(1, len(detectors)), sharey=True, squeeze=False)[0]
    for axes, detector in zip(panels, detectors, strict=False):
        axes.axvline(0.5, color=GRAY, linewidth=0.7)
        for row, one in enumerate(comparisons):
            auc = (one.aucs or {})[detector]
            color = KIND_COLORS.get(kinds.get(one.positives), COLORS[3])
            fill = color if one.negatives == CLEAN else "white"
            axes.plot([auc.low, auc.high], [row, row], color=color, linewidth=1.4, solid_capstyle="butt")
            axes.plot(auc.estimate, row, "o", color=color, markerfacecolor=fill, markersize=4, clip_on=False)
        axes.set_title(detector, size=7.5, loc="left")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", linewidth=0.4, alpha=0.4)
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.supxlabel("area under the ROC curve", size=6.5)
    return figure


def _cell(auc: Interval) -> str:
    return f"{auc.estimate:.2f}\n{auc.low:.2f}–{auc.high:.2f}"


def _auc_text(auc: Interval) -> str:
    return f"{auc.estimate:.2f} ({auc.low:.2f} to {auc.high:.2f})"
