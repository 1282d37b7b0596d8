"""The effect of adversarial training on each attack: a file for programs, a figure and a table."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.intervals import Interval
from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE, LEGEND, PANEL
from cam_adv.reports.console import console, new_table, print_table
from cam_adv.studies.adversarial_training.effect import ControlCheck, Effect, Verdict
from cam_adv.studies.adversarial_training.table import CONTROL, PLAIN, AdversarialTrainingTable, Measure

HELPS: dict[Verdict, str] = {
    "yes": "helps",
    "no": "does not help",
    "undecided": "undecided",
    "withheld": "withheld",
}
MARKERS: dict[Verdict, tuple[str, str]] = {
    "yes": ("o", COLORS[2]),
    "no": ("s", COLORS[1]),
    "undecided": ("D", GRAY),
    "withheld": ("x", GRAY),
}
REASONS: dict[Answer, str] = {"no": "control failed", "undecided": "control undecided"}
"""Why verdicts are withheld, by whether the control does nothing."""
WITHHELD: dict[Answer, str] = {
    "no": "No verdict on {measures}, control failed: victims that are trained in the same way from other seeds "
    "change its success by more than {min_effect:.0%}.",
    "undecided": "No verdict on {measures}, control undecided: it is not shown that victims that are trained in the "
    "same way from other seeds change its success by less than {min_effect:.0%}.",
}
REMEDY = "Give study.victims and study.control_victims more seeds, and set study.test_images to more."


def adversarial_training_content(table: AdversarialTrainingTable) -> dict[str, Any]:
    """The content of `adversarial_training.json`: the verdicts, each training's accuracy, confidences and attacks."""
    return {
        "verdict_texts": verdict_texts(table),
        "images": table.images,
        "min_effect": table.min_effect,
        "trainings": {
            training: {
                "accuracy": asdict(row.accuracy),
                "attacks": {measure.name: _measured(table, training, measure) for measure in table.measures},
            }
            for training, row in table.rows.items()
        },
    }


def verdict_texts(table: AdversarialTrainingTable) -> list[str]:
    """Which verdicts are withheld, and why; then a sentence on the control and on each training, without these."""
    by_answer: dict[Answer, list[str]] = {"yes": [], "no": [], "undecided": []}
    for measure, check in table.controls.items():
        by_answer[check.does_nothing].append(measure.name)
    texts = [
        f"{text.format(measures=', '.join(by_answer[answer]), min_effect=table.min_effect)} {REMEDY}"
        for answer, text in WITHHELD.items()
        if by_answer[answer]
    ]
    if by_answer["yes"]:
        texts.append(f"{CONTROL}: does nothing to {', '.join(by_answer['yes'])}, as it must.")
        texts += [f"{training}: {_effects_text(row.effects)}." for training, row in table.rows.items() if row.effects]
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
            share = row.clean_share.get(measure)
            compared = table.controls[measure] if training == CONTROL else row.effects.get(measure)
            name = f"{measure.name}, P(y) ≥ {_range(row.confidences[measure])}" if share else measure.name
            shown.add_row(
                "",
                name,
                str(share) if share else "",
                str(row.rates[measure]["success"]),
                _change_text(compared.change) if compared else "",
                f"{compared.p:.2g}" if compared else "",
            )
    print_table(shown)
    comparisons = sum(len(row.effects) for row in table.rows.values())
    console().print(
        f"p, of a fall by {table.min_effect:.0%}, is corrected for all {comparisons} comparisons (Holm); that "
        f"of the control, of a change by {table.min_effect:.0%} or more, is not. The intervals of changes are for "
        "victims and images in general."
    )
    for text in verdict_texts(table):
        console().print(text)


def adversarial_training_figure(table: AdversarialTrainingTable, heading: str) -> Figure:
    """A panel for each measure: the change of its success rate by each training, its interval, and whether it helps.

    The dotted line is the smallest fall that counts. Where verdicts are withheld the panel says why; the control
    itself is marked as "does not help" where it is shown to do nothing, and as withheld elsewhere.
    """
    measures, trainings = table.measures, [name for name in table.rows if name != PLAIN]
    figure = Figure(figsize=(PANEL[0] * len(measures) + 0.6, 0.28 * len(trainings) + 1.1), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    largest = 0.0
    for axes, measure in zip(panels, measures, strict=True):
        axes.axvline(0, color=COLORS[3], linewidth=0.6)
        axes.axvline(-table.min_effect, color=COLORS[3], linewidth=0.6, linestyle=":")
        check = table.controls[measure]
        for place, training in enumerate(trainings):
            compared = table.rows[training].effects.get(measure, check)
            marker, color = MARKERS[_verdict(compared)]
            change = compared.change
            largest = max(largest, change.high)
            axes.plot([change.low, change.high], [place, place], color=color, linewidth=1.2)
            axes.plot(change.estimate, place, marker, color=color, markersize=4)
        title = f"{measure.name}, plain {table.rows[PLAIN].rates[measure]['success'].rate:.0%}"
        if reason := REASONS.get(check.does_nothing):
            title += f"\n{reason}"
        axes.set_title(title, size=8, loc="left")
        axes.set_xlabel("change of the attack's success", size=7)
        axes.set_xticks((-1, -0.5, 0))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels:
        axes.set_xlim(-1.05, largest + 0.05)
    panels[0].set_yticks(range(len(trainings)), trainings)
    panels[0].set_ylim(len(trainings) - 0.5, -0.5)
    panels[0].set_ylabel("training", size=7)
    for answer, (marker, color) in MARKERS.items():
        panels[0].plot([], [], marker, color=color, markersize=4, label=HELPS[answer])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=len(MARKERS), **LEGEND)
    return figure


def _measured(table: AdversarialTrainingTable, training: str, measure: Measure) -> dict[str, Any]:
    """One measure of one training, for JSON."""
    row, check = table.rows[training], table.controls[measure]
    content: dict[str, Any] = {criterion: asdict(rate) for criterion, rate in row.rates[measure].items()}
    if measure in row.confidences:
        content |= {"confidences": row.confidences[measure], "clean_share": asdict(row.clean_share[measure])}
    if training == CONTROL:
        content |= asdict(check)
    if effect := row.effects.get(measure):
        content |= asdict(effect)
        if effect.improves_robustness == "withheld":
            content["reason"] = REASONS[check.does_nothing]
    return content


def _verdict(compared: Effect | ControlCheck) -> Verdict:
    """Whether a training helps; the control does not, if it is shown to do nothing."""
    if isinstance(compared, Effect):
        return compared.improves_robustness
    return "no" if compared.does_nothing == "yes" else "withheld"


def _effects_text(effects: Mapping[Measure, Effect]) -> str:
    """ "helps against a; does not help against b, c; undecided against d", without those that are withheld."""
    groups = {
        text: ", ".join(measure.name for measure, effect in effects.items() if effect.improves_robustness == answer)
        for answer, text in HELPS.items()
        if answer != "withheld"
    }
    return "; ".join(f"{text} against {attacks}" for text, attacks in groups.items() if attacks)


def _range(values: list[float]) -> str:
    """The smallest and the largest of some values, or the only one."""
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def _change_text(change: Interval) -> str:
    return f"{change.estimate:+.1%} ({100 * change.low:+.1f} to {change.high:+.1%})"
