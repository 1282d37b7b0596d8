"""The effect of adversarial training on each attack: a file for programs, a figure and a table."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cam_adv.metrics.answers import Answer
from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE, LEGEND, PANEL
from cam_adv.reports.console import console, new_table, print_table
from cam_adv.studies.adversarial_training.effect import Effect
from cam_adv.studies.adversarial_training.table import PLAIN, AdversarialTrainingTable, Measure, TrainingRow

HELPS: dict[Answer, str] = {"yes": "helps", "no": "does not help", "undecided": "undecided"}
MARKERS: dict[Answer, tuple[str, str]] = {"yes": ("o", COLORS[2]), "no": ("s", COLORS[1]), "undecided": ("D", GRAY)}
WITHHELD = (
    "No verdict on {measures}: the control, victims that are trained in the same way from other seeds, changes its "
    "success, too. Give study.victims and study.control_victims more seeds."
)


def adversarial_training_content(table: AdversarialTrainingTable) -> dict[str, Any]:
    """The content of `adversarial_training.json`: the verdicts, each training's accuracy, confidences and attacks."""
    return {
        "verdict_texts": verdict_texts(table),
        "failed_controls": [measure.name for measure in table.failed_controls],
        "images": table.images,
        "min_effect": table.min_effect,
        "trainings": {
            training: {
                "accuracy": asdict(row.accuracy),
                "attacks": {measure.name: _measured(row, measure) for measure in table.measures},
            }
            for training, row in table.rows.items()
        },
    }


def verdict_texts(table: AdversarialTrainingTable) -> list[str]:
    """A sentence on each training, without the measures for which the control fails; before them one on these."""
    failed = table.failed_controls
    texts = [WITHHELD.format(measures=", ".join(measure.name for measure in failed))] if failed else []
    for training, row in table.rows.items():
        if effects := {measure: effect for measure, effect in row.effects.items() if measure not in failed}:
            texts.append(f"{training}: {_effects_text(effects)}.")
    return texts


def print_adversarial_training(table: AdversarialTrainingTable, heading: str) -> None:
    """Print the accuracy of each training's victims, a row for each attack on them, and the verdicts."""
    shown = new_table(heading)
    shown.add_column("training", no_wrap=True)
    shown.add_column("measure", overflow="fold")
    shown.add_column("clean images\nthat reach it", no_wrap=True)
    shown.add_column("success", no_wrap=True)
    shown.add_column("change\n(paired)", no_wrap=True)
    shown.add_column("p", no_wrap=True)
    for training, row in table.rows.items():
        shown.add_section()
        shown.add_row(training, "accuracy", str(row.accuracy))
        for measure in table.measures:
            share, effect = row.clean_share.get(measure), row.effects.get(measure)
            name = f"{measure.name}, P(y) ≥ {_range(row.confidences[measure])}" if share else measure.name
            shown.add_row(
                "",
                name,
                str(share) if share else "",
                str(row.rates[measure]["success"]),
                _change_text(effect) if effect else "",
                f"{effect.p:.2g}" if effect else "",
            )
    print_table(shown)
    comparisons = sum(len(row.effects) for row in table.rows.values())
    console().print(
        f"p, of a fall by {table.min_effect:.0%}, is corrected for all {comparisons} comparisons (Holm). The "
        "intervals of changes are for victims and images in general."
    )
    for text in verdict_texts(table):
        console().print(text)


def adversarial_training_figure(table: AdversarialTrainingTable, heading: str) -> Figure:
    """A panel for each measure: the change of its success rate by each training, its interval, and whether it helps.

    The dotted line is the smallest fall that counts.
    """
    measures, rows = table.measures, {name: row for name, row in table.rows.items() if name != PLAIN}
    figure = Figure(figsize=(PANEL[0] * len(measures) + 0.6, 0.28 * len(rows) + 1.1), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    largest = max(0.0, *(effect.change.high for row in rows.values() for effect in row.effects.values()))
    for axes, measure in zip(panels, measures, strict=True):
        axes.axvline(0, color=COLORS[3], linewidth=0.6)
        axes.axvline(-table.min_effect, color=COLORS[3], linewidth=0.6, linestyle=":")
        for place, row in enumerate(rows.values()):
            effect = row.effects[measure]
            marker, color = MARKERS[effect.improves_robustness]
            axes.plot([effect.change.low, effect.change.high], [place, place], color=color, linewidth=1.2)
            axes.plot(effect.change.estimate, place, marker, color=color, markersize=4)
        axes.set_title(
            f"{measure.name}, plain {table.rows[PLAIN].rates[measure]['success'].rate:.0%}", size=8, loc="left"
        )
        axes.set_xlabel("change of the attack's success", size=7)
        axes.set_xlim(-1.05, largest + 0.05)
        axes.set_xticks((-1, -0.5, 0))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), list(rows))
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_ylabel("training", size=7)
    for answer, (marker, color) in MARKERS.items():
        panels[0].plot([], [], marker, color=color, markersize=4, label=HELPS[answer])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def _measured(row: TrainingRow, measure: Measure) -> dict[str, Any]:
    """One measure of one training, for JSON."""
    content: dict[str, Any] = {criterion: asdict(rate) for criterion, rate in row.rates[measure].items()}
    if measure in row.confidences:
        content |= {"confidences": row.confidences[measure], "clean_share": asdict(row.clean_share[measure])}
    return content | (asdict(row.effects[measure]) if measure in row.effects else {})


def _effects_text(effects: Mapping[Measure, Effect]) -> str:
    """ "helps against a; does not help against b, c; undecided against d"."""
    groups = {
        text: ", ".join(measure.name for measure, effect in effects.items() if effect.improves_robustness == answer)
        for answer, text in HELPS.items()
    }
    return "; ".join(f"{text} against {attacks}" for text, attacks in groups.items() if attacks)


def _range(values: list[float]) -> str:
    """The smallest and the largest of some values, or the only one."""
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def _change_text(effect: Effect) -> str:
    change = effect.change
    return f"{change.estimate:+.1%} ({100 * change.low:+.1f} to {change.high:+.1%})"
