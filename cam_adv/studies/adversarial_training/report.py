"""The effect of adversarial training on each attack: a file for programs, a figure and a table."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cam_adv.metrics.answers import Answer
from cam_adv.metrics.intervals import Rate
from cam_adv.plots.style import COLORS, GRAY, HEADING_SIZE, LEGEND, PANEL
from cam_adv.reports.console import console, new_table, print_table
from cam_adv.schema.fields import Kind
from cam_adv.studies.adversarial_training.effect import Effect
from cam_adv.studies.adversarial_training.table import AdversarialTrainingTable

CLAIM = "Training against one kind of attack helps against that kind only"
HELPS: dict[Answer, str] = {"yes": "helps", "no": "does not help", "undecided": "undecided"}
MARKERS: dict[Answer, tuple[str, str]] = {"yes": ("o", COLORS[2]), "no": ("s", COLORS[1]), "undecided": ("D", GRAY)}
KINDS: dict[Kind, str] = {"type1": "Type I", "type2": "Type II"}
TRAININGS = {"none": "nothing", "type1": "Type I", "type2": "Type II", "both": "both"}
"""Training → what the victim was trained against."""


def adversarial_training_content(table: AdversarialTrainingTable) -> dict[str, Any]:
    """The content of `adversarial_training.json`: the claim, its answer, each victim's accuracy and attacks."""
    return {
        "claim": f"{CLAIM}.",
        "answer": table.claim(),
        "only_own_kind": table.only_own_kind(),
        "images": table.images,
        "min_effect": table.min_effect,
        "trainings": {
            training: {
                "accuracy": asdict(row.accuracy),
                "attacks": {
                    attack: {
                        "kind": table.kinds[attack],
                        **{criterion: asdict(rate) for criterion, rate in rates.items()},
                        **(asdict(row.effects[attack]) if attack in row.effects else {}),
                    }
                    for attack, rates in row.rates.items()
                },
            }
            for training, row in table.rows.items()
        },
    }


def verdict_texts(table: AdversarialTrainingTable) -> list[str]:
    """A sentence on each training, then the answer to the claim."""
    lines = [
        f"{TRAININGS[training]}: {_effects_text(row.effects)}." for training, row in table.rows.items() if row.effects
    ]
    return [*lines, f"{CLAIM}: {table.claim()}."]


def print_adversarial_training(table: AdversarialTrainingTable, heading: str) -> None:
    """Print each victim's accuracy, a row for each attack on it, and the verdicts."""
    shown = new_table(heading)
    shown.add_column("trained\nagainst", no_wrap=True)
    shown.add_column("attack", overflow="fold")
    shown.add_column("success\n(95% interval)", no_wrap=True)
    shown.add_column("change\n(95% interval, paired)", no_wrap=True)
    for training, row in table.rows.items():
        shown.add_section()
        shown.add_row(TRAININGS[training], "(accuracy)", _rate_text(row.accuracy))
        for attack in table.kinds:
            success, effect = row.rates[attack]["success"], row.effects.get(attack)
            shown.add_row("", attack, _rate_text(success), _change_text(effect))
    print_table(shown)
    for text in verdict_texts(table):
        console().print(text)


def adversarial_training_figure(table: AdversarialTrainingTable, heading: str) -> Figure:
    """A panel for each attack: its success rate on each victim with the Wilson 95% interval, and whether it helps.

    The dotted line is the success rate on the victim without adversarial training. The effect is decided by the
    paired change on the same images, not by whether two of these intervals overlap.
    """
    count = len(table.kinds)
    figure = Figure(figsize=(PANEL[0] * count + 0.6, 0.28 * len(table.rows) + 1.1), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, (attack, kind) in zip(panels, table.kinds.items(), strict=True):
        for place, row in enumerate(table.rows.values()):
            rate, effect = row.rates[attack]["success"], row.effects.get(attack)
            marker, color = ("|", COLORS[3]) if effect is None else MARKERS[effect.improves_robustness]
            if effect is None:
                axes.axvline(rate.rate, color=COLORS[3], linewidth=0.6, linestyle=":")
            axes.plot([rate.low, rate.high], [place, place], color=color, linewidth=1.2)
            axes.plot(rate.rate, place, marker, color=color, markersize=4)
        axes.set_title(f"{attack} ({KINDS[kind]})", size=8, loc="left")
        axes.set_xlabel("success of the attack", size=7)
        axes.set_xlim(-0.03, 1.03)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelsize=6.5, color=GRAY)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(table.rows)), [TRAININGS[training] for training in table.rows])
    panels[0].set_ylim(len(table.rows) - 0.5, -0.5)
    panels[0].set_ylabel("trained against", size=7)
    for answer, (marker, color) in MARKERS.items():
        panels[0].plot([], [], marker, color=color, markersize=4, label=HELPS[answer])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def _effects_text(effects: Mapping[str, Effect]) -> str:
    """ "helps against a; does not help against b, c; undecided against d"."""
    groups = {
        text: ", ".join(attack for attack, effect in effects.items() if effect.improves_robustness == answer)
        for answer, text in HELPS.items()
    }
    return "; ".join(f"{text} against {attacks}" for text, attacks in groups.items() if attacks)


def _rate_text(rate: Rate) -> str:
    return f"{rate.rate:.1%} ({100 * rate.low:.1f} to {rate.high:.1%})"


def _change_text(effect: Effect | None) -> str:
    if effect is None:
        return ""
    change = effect.change
    return f"{change.estimate:+.1%} ({100 * change.low:+.1f} to {change.high:+.1%})"
