"""The answer to "is this explanation reliable under a Type I attack?": one file, one page, one table."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from cam_adv.reliability.claims import ANSWERED_BY, ATTACK, CLAIMS, Findings
from cam_adv.reliability.finding import Estimate, Finding
from cam_adv.reliability.observation import Observation
from cam_adv.report.style import COLORS, DPI, HEADING_SIZE, LEGEND, QUIET
from cam_adv.settings import Matters
from cam_adv.writing import write_whole

TITLES = {"h1": "H1 instability", "h2": "H2 unfaithfulness", "h3": "H3 concealment"}
MEASURED = {
    "h1": "change of the map beyond the nearest\nmatched control (1 − centred cosine)",
    "h2": "lost of the advantage over a random\nranking (share of the margin)",
    "h3": "AUC that the map adds to the victim's\nconfidence (concealed: none)",
}
SENTENCES = {
    ("h1", "yes"): "The attack moves the map more than every matched control does.",
    ("h1", "no"): "A matched control moves the map as far as the attack does, or further.",
    ("h2", "yes"): "At the attack's end, the map's highest regions control the margin less than they did.",
    ("h2", "no"): "At the attack's end, the map's highest regions control the margin as they did.",
    ("h3", "yes"): "The map at the attack's end adds nothing by which it could be told from an honest image's.",
    ("h3", "no"): "The map at the attack's end gives it away, beyond what the victim's confidence does.",
}
UNDECIDED = "Undecided: what matters lies within the interval, or there is nothing by which to measure it."
MARKS = {"yes": ("o", COLORS[1]), "no": ("s", COLORS[0]), "undecided": ("D", QUIET)}


def sentence(claim: str, finding: Finding) -> str:
    """The verdict in words."""
    if math.isnan(finding.estimate.effect):
        return "Too few images to say anything."
    return SENTENCES.get((claim, finding.verdict), UNDECIDED)


def reliability_content(by_attack: Mapping[str, Findings]) -> dict[str, Any]:
    """What `reliability.json` holds: explanation → claim → effect, low, high, p, verdict and what stands behind them.

    Args:
        by_attack: attack → the answers for it; each record is of the attack that answers its claim, and holds the
            other's beside.
    """
    content: dict[str, Any] = {}
    for explanation in by_attack[ATTACK]:
        content[explanation] = {}
        for claim, own in ANSWERED_BY.items():
            records = {name: _record(claim, findings[explanation][claim]) for name, findings in by_attack.items()}
            record = records.pop(own)
            content[explanation][claim] = {**record, "attack": own, "other_attacks": records}
    return content


def write_measures(seen: Mapping[str, Sequence[Mapping[str, Observation]]], path: Path) -> None:
    """Every measure of map change, a line for each attack, explanation and picture: mean over rows, NaNs left out."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["attack", "victim", "explanation", "measure", "picture", "mean", "rows"])
    for attack, observations in seen.items():
        for observed in observations:
            for explanation, observation in observed.items():
                for column, values in observation.rows.items():
                    if column in ("victim", "image"):
                        continue
                    measure, picture = column.split(" ", 1)
                    victim, known = int(observation.rows["victim"][0]), int((~values.isnan()).sum())
                    mean = f"{values.double().nanmean().item():.6f}"
                    writer.writerow([attack, victim, explanation, measure, picture, mean, known])
    write_whole(path, text.getvalue())


def print_reliability(findings: Findings, order: Sequence[str]) -> None:
    """A line for each explanation, the hardest to fool first."""
    table = Table(
        title="is the explanation reliable under the attack? (hardest to fool first)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("explanation", no_wrap=True)
    for claim in CLAIMS:
        table.add_column(TITLES[claim])
    for name in order:
        table.add_row(name, *(_cell(findings[name][claim]) for claim in CLAIMS))
    console = Console()
    console.print(table)
    if "cam" in findings:
        for claim in CLAIMS:
            console.print(f"cam, {claim.upper()}: {sentence(claim, findings['cam'][claim])}")


def reliability_figure(findings: Findings, order: Sequence[str], matters: Matters) -> Figure:
    """Effects and intervals, a panel for each claim and a line for each explanation, the hardest to fool on top.

    A band marks the effects that are too small to matter; the mark's shape and colour are the verdict.
    """
    figure = Figure(figsize=(7.2, 0.28 * len(order) + 1.6), layout="constrained")
    heading = "Is an explanation reliable under a Type I attack?"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, len(CLAIMS), sharey=True)
    sizes = (matters.instability, matters.unfaithfulness, matters.concealment)
    for axes, claim, size in zip(panels, CLAIMS, sizes, strict=True):
        axes.axvspan(-size, size, color=QUIET, alpha=0.15, linewidth=0)
        axes.axvline(0, color=QUIET, linewidth=0.6)
        for row, name in enumerate(order):
            finding = findings[name][claim]
            found, (mark, color) = finding.estimate, MARKS[finding.verdict]
            if not math.isnan(found.effect):
                axes.plot([found.low, found.high], [row, row], color=color, linewidth=1.2)
                axes.plot(found.effect, row, mark, color=color, markersize=4)
        axes.set_title(TITLES[claim], size=8, loc="left")
        axes.set_xlabel(MEASURED[claim], size=6.5)
        axes.tick_params(labelsize=6.5, color=QUIET)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].set_ylim(len(order) - 0.5, -0.5)
    for verdict, (mark, color) in MARKS.items():
        panels[0].plot([], [], mark, color=color, markersize=4, label=f"the claim: {verdict}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def draw_reliability(findings: Findings, order: Sequence[str], matters: Matters, path: Path) -> None:
    """Write the page to `path`; see reliability_figure."""
    reliability_figure(findings, order, matters).savefig(path, dpi=DPI)


def _record(claim: str, finding: Finding) -> dict[str, Any]:
    return {
        **_numbers(finding.estimate),
        "verdict": finding.verdict,
        "sentence": sentence(claim, finding),
        "details": {name: _numbers(found) for name, found in finding.details.items()},
    }


def _numbers(found: Estimate) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(found).items()
    }


def _cell(finding: Finding) -> str:
    found = finding.estimate
    if math.isnan(found.effect):
        return f"{finding.verdict}\ntoo few images"
    return f"{finding.verdict}, {found.effect:+.2f}\n{found.low:+.2f} to {found.high:+.2f}\np {found.p:.2g}"
