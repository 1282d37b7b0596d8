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
from cam_adv.studies.explanation_reliability.claims import ATTACK, CLAIMS, DECIDED_ON, TITLES, Findings
from cam_adv.studies.explanation_reliability.config import MinEffects
from cam_adv.studies.explanation_reliability.finding import NOTHING_TO_LOSE, WITHHELD, Estimate, Finding
from cam_adv.studies.explanation_reliability.measurements import Measurements

EFFECTS = {
    "instability": "dissimilarity of the map beyond the\nlargest matched control (1 − centred cosine)",
    "unfaithfulness": "loss of the advantage over a random ranking\nbeyond the controls (share of the margin)",
    "concealment": "AUC that the map adds to the victim's\nconfidence (concealed: none)",
}
VERDICT_TEXTS = {
    ("instability", "yes"): "The attack changes the map more than every matched control does.",
    ("instability", "no"): "A matched control changes the map as much as the attack does, or more.",
    ("unfaithfulness", "yes"): "After the attack, the map's highest regions control the margin less than after every "
    "matched control.",
    (
        "unfaithfulness",
        "no",
    ): "After a matched control, the map's highest regions control the margin no more than after the attack.",
    (
        "unfaithfulness",
        NOTHING_TO_LOSE,
    ): "Nothing to lose: on x the map is not shown to say more than one mean map for "
    "all images, or than the image itself.",
    ("concealment", "yes"): "The map after the attack adds nothing that separates it from a clean image's map, and "
    "passes as often.",
    (
        "concealment",
        "no",
    ): "The map after the attack reveals it, beyond what the victim's confidence does, or by itself.",
}
UNDECIDED_TEXT = "Undecided: the data show neither yes nor no, or a precondition does not hold."
WITHHELD_TEXT = "Withheld: explanations with a known answer did not all come out as they must."
NOTHING_MEASURED_TEXT = "Nothing is measured: there are too few images."
MARKS = {
    "yes": ("o", COLORS[1]),
    "no": ("s", COLORS[0]),
    "undecided": ("D", GRAY),
    NOTHING_TO_LOSE: ("v", GRAY),
    WITHHELD: ("x", GRAY),
}


def verdict_text(claim: str, finding: Finding) -> str:
    """The verdict as a sentence."""
    if math.isnan(finding.estimate.effect):
        return NOTHING_MEASURED_TEXT
    if finding.verdict == WITHHELD:
        return WITHHELD_TEXT
    return VERDICT_TEXTS.get((claim, finding.verdict), UNDECIDED_TEXT)


def findings_to_json(by_attack: Mapping[str, Findings]) -> dict[str, Any]:
    """Attribution method → claim → effect, low, high, both p, verdict, the details, the record of the other attack.

    Args:
        by_attack: attack → findings; each claim's record is of the attack that the claim is decided on.
    """
    content: dict[str, Any] = {}
    for attribution in by_attack[ATTACK]:
        content[attribution] = {}
        for claim, attack in DECIDED_ON.items():
            records = {
                name: finding_to_json(claim, findings[attribution][claim])
                for name, findings in by_attack.items()
                if claim in findings[attribution]
            }
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
                    if " " not in column:
                        continue  # victim, image and start
                    measure, comparison = column.split(" ", 1)
                    mean = f"{values.double().nanmean().item():.6f}"
                    defined = int((~values.isnan()).sum())
                    writer.writerow([attack, victim, attribution, measure, comparison, mean, defined])
    write_atomically(path, text.getvalue())


def print_reliability(findings: Findings, order: Sequence[str]) -> None:
    """A line for each attribution method, the most robust first."""
    table = new_table(
        "is the explanation reliable under the attack? (most robust first; n: effective number of images)"
    )
    table.add_column("attribution", no_wrap=True)
    for claim in CLAIMS:
        table.add_column(TITLES[claim])
    for name in order:
        table.add_row(name, *(_cell(findings[name][claim]) for claim in CLAIMS))
    print_table(table)
    if "cam" in findings:
        for claim in CLAIMS:
            console().print(f"cam, {TITLES[claim]}: {verdict_text(claim, findings['cam'][claim])}")


def print_arms(by_arm: Mapping[str, Findings]) -> None:
    """A line for each further attack and attribution method."""
    table = new_table("and under other attacks?")
    for heading in ("attack", "attribution"):
        table.add_column(heading, no_wrap=True)
    for claim in CLAIMS:
        table.add_column(TITLES[claim])
    for arm, findings in by_arm.items():
        for name, by_claim in findings.items():
            table.add_row(arm, name, *(_cell(by_claim[claim]) for claim in CLAIMS))
    print_table(table)


def reliability_figure(findings: Findings, order: Sequence[str], min_effect: MinEffects) -> Figure:
    """Effects and intervals, a panel for each claim and a line for each attribution method, in the order given.

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
    given = {finding.verdict for by_claim in findings.values() for finding in by_claim.values()}
    for verdict, (mark, color) in MARKS.items():
        if verdict not in given:
            continue
        panels[0].plot([], [], mark, color=color, markersize=4, label=f"the claim: {verdict}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=len(given), **LEGEND)
    return figure


def finding_to_json(claim: str, finding: Finding) -> dict[str, Any]:
    """Effect, low, high, both p and the numbers of rows, the verdict in a word and a sentence, and the details."""
    among = finding.among_reconstructions
    return {
        **_numbers(finding.estimate),
        "verdict": finding.verdict,
        "verdict_text": verdict_text(claim, finding),
        **({} if among is None else {"verdict_among_reconstructions": among}),
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
    p = f"p {min(found.p_above, found.p_below):.2g}, n {found.clusters}"
    lines = [f"{finding.verdict}, {found.effect:+.2f}", f"{found.low:+.2f} to {found.high:+.2f}", p]
    if "evades" in finding.details:
        passing = finding.details["evades"]
        lines.append(f"pass {passing.effect:.0%} ({passing.low:.0%} to {passing.high:.0%})")
    if finding.among_reconstructions is not None:
        lines.append(f"generated: {finding.among_reconstructions}")
    return "\n".join(lines)
