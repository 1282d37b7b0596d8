"""The verdicts as one JSON record, one table of measures, one terminal table and one figure."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE, LEGEND
from cam_adv.reports.console import console, new_table, print_table
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.studies.explanation_reliability.claims import ATTACK, CLAIMS, DECIDED_ON, Findings
from cam_adv.studies.explanation_reliability.config import MinEffects
from cam_adv.studies.explanation_reliability.finding import Estimate, Finding
from cam_adv.studies.explanation_reliability.measurements import Measurements

TITLES = {"instability": "H1 instability", "unfaithfulness": "H2 unfaithfulness", "concealment": "H3 concealment"}
EFFECTS = {
    "instability": "dissimilarity of the map beyond the\nlargest matched control (1 − centred cosine)",
    "unfaithfulness": "loss of the advantage over a random\nranking (share of the margin)",
    "concealment": "AUC that the map adds to the victim's\nconfidence (concealed: none)",
}
VERDICT_TEXTS = {
    ("instability", "yes"): "The attack changes the map more than every matched control does.",
    ("instability", "no"): "A matched control changes the map as much as the attack does, or more.",
    ("unfaithfulness", "yes"): "After the attack, the map's highest regions control the margin less than before.",
    ("unfaithfulness", "no"): "After the attack, the map's highest regions control the margin as before.",
    ("concealment", "yes"): "The map after the attack adds nothing that separates it from a clean image's map.",
    ("concealment", "no"): "The map after the attack reveals it, beyond what the victim's confidence does.",
}
UNDECIDED_TEXT = "Undecided: the interval contains the smallest effect that counts, or a precondition does not hold."
NOTHING_MEASURED_TEXT = "Nothing is measured: there are too few images."
MARKS = {"yes": ("o", COLORS[1]), "no": ("s", COLORS[0]), "undecided": ("D", GRAY)}


def verdict_text(claim: str, finding: Finding) -> str:
    """The verdict as a sentence."""
    if math.isnan(finding.estimate.effect):
        return NOTHING_MEASURED_TEXT
    return VERDICT_TEXTS.get((claim, finding.verdict), UNDECIDED_TEXT)


def findings_to_json(by_attack: Mapping[str, Findings]) -> dict[str, Any]:
    """Attribution method → claim → effect, low, high, p, verdict, the details, and the record of the other attack.

    Args:
        by_attack: attack → findings; each claim's record is of the attack that the claim is decided on.
    """
    content: dict[str, Any] = {}
    for attribution in by_attack[ATTACK]:
        content[attribution] = {}
        for claim, attack in DECIDED_ON.items():
            records = {name: _record(claim, findings[attribution][claim]) for name, findings in by_attack.items()}
            record = records.pop(attack)
            content[attribution][claim] = {**record, "attack": attack, "other_attacks": records}
    return content


def write_measures(by_attack: Mapping[str, Sequence[Mapping[str, Measurements]]], path: Path) -> None:
    """Every measure as a CSV line for each attack, victim, attribution method and comparison.

    `mean` is over the `rows` whose measure is defined.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["attack", "victim", "attribution", "measure", "comparison", "mean", "rows"])
    for attack, by_victim in by_attack.items():
        for by_attribution in by_victim:
            for attribution, measured in by_attribution.items():
                victim = int(measured.rows["victim"][0])
                for column, values in measured.rows.items():
                    if column in ("victim", "image"):
                        continue
                    measure, comparison = column.split(" ", 1)
                    mean = f"{values.double().nanmean().item():.6f}"
                    defined = int((~values.isnan()).sum())
                    writer.writerow([attack, victim, attribution, measure, comparison, mean, defined])
    write_atomically(path, text.getvalue())


def print_reliability(findings: Findings, order: Sequence[str]) -> None:
    """A line for each attribution method, the most robust first."""
    table = new_table("is the explanation reliable under the attack? (most robust first)")
    table.add_column("attribution", no_wrap=True)
    for claim in CLAIMS:
        table.add_column(TITLES[claim])
    for name in order:
        table.add_row(name, *(_cell(findings[name][claim]) for claim in CLAIMS))
    print_table(table)
    if "cam" in findings:
        for claim in CLAIMS:
            console().print(f"cam, {TITLES[claim]}: {verdict_text(claim, findings['cam'][claim])}")


def reliability_figure(findings: Findings, order: Sequence[str], min_effect: MinEffects) -> Figure:
    """Effects and intervals, a panel for each claim and a line for each attribution method, the most robust on top.

    A band marks the effects that are too small to count; shape and colour of the marker are the verdict.
    """
    figure = Figure(figsize=(7.2, 0.28 * len(order) + 1.6), layout="constrained")
    heading = "Is an explanation reliable under a Type I attack?"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, len(CLAIMS), sharey=True)
    for axes, claim in zip(panels, CLAIMS, strict=True):
        smallest = getattr(min_effect, claim)
        axes.axvspan(-smallest, smallest, color=GRAY, alpha=0.15, linewidth=0)
        axes.axvline(0, color=GRAY, linewidth=0.6)
        for row, name in enumerate(order):
            finding = findings[name][claim]
            found, (mark, color) = finding.estimate, MARKS[finding.verdict]
            if not math.isnan(found.effect):
                axes.plot([found.low, found.high], [row, row], color=color, linewidth=1.2)
                axes.plot(found.effect, row, mark, color=color, markersize=4)
        axes.set_title(TITLES[claim], size=8, loc="left")
        axes.set_xlabel(EFFECTS[claim], size=6.5)
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].set_ylim(len(order) - 0.5, -0.5)
    for verdict, (mark, color) in MARKS.items():
        panels[0].plot([], [], mark, color=color, markersize=4, label=f"the claim: {verdict}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def _record(claim: str, finding: Finding) -> dict[str, Any]:
    return {
        **_numbers(finding.estimate),
        "verdict": finding.verdict,
        "verdict_text": verdict_text(claim, finding),
        "details": {name: _numbers(found) for name, found in finding.details.items()},
    }


def _numbers(found: Estimate) -> dict[str, Any]:
    """None instead of NaN, which JSON does not have."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(found).items()
    }


def _cell(finding: Finding) -> str:
    found = finding.estimate
    if math.isnan(found.effect):
        return f"{finding.verdict}\nnothing measured"
    return f"{finding.verdict}, {found.effect:+.2f}\n{found.low:+.2f} to {found.high:+.2f}\np {found.p:.2g}"
