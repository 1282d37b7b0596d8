"""What adversarial training does against each attack: a file for programs, a picture and a table."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table

from cam_adv.defence.effect import Effect
from cam_adv.defence.table import DefenceTable
from cam_adv.evaluation.intervals import Rate
from cam_adv.report.style import COLORS, DPI, HEADING_SIZE, LEGEND, PANEL, QUIET

CLAIM = "Training against one kind of attack helps against that kind only"
HELPS = {"yes": "helps", "no": "does not help", "undecided": "undecided"}
MARKS = {"yes": ("o", COLORS[2]), "no": ("s", COLORS[1]), "undecided": ("D", QUIET)}
KINDS = {"type1": "Type I", "type2": "Type II"}
TRAININGS = {"none": "nothing", "type1": "Type I", "type2": "Type II", "both": "both"}
"""What a victim was trained against, in words."""


def defence_content(table: DefenceTable) -> dict[str, Any]:
    """What `defence.json` holds: the claim and its answer, then each victim's accuracy and the attacks on it."""
    return {
        "claim": f"{CLAIM}.",
        "answer": table.claim(),
        "only_own_kind": table.only_own_kind(),
        "images": table.images,
        "matters": table.matters,
        "trainings": {
            training: {
                "accuracy": asdict(row.accuracy),
                "attacks": {
                    attack: {
                        "kind": table.kinds[attack],
                        **{question: asdict(rate) for question, rate in rates.items()},
                        **(asdict(row.effects[attack]) if attack in row.effects else {}),
                    }
                    for attack, rates in row.rates.items()
                },
            }
            for training, row in table.rows.items()
        },
    }


def sentences(table: DefenceTable) -> list[str]:
    """The answers in words: a line for each training, then the claim."""
    lines = [f"{TRAININGS[training]}: {_listed(row.effects)}." for training, row in table.rows.items() if row.effects]
    return [*lines, f"{CLAIM}: {table.claim()}."]


def print_defence(table: DefenceTable, heading: str) -> None:
    """Each victim's accuracy, a line for each attack on it, and the answers in words."""
    shown = Table(title=heading, title_justify="left", title_style="bold")
    shown.add_column("trained\nagainst", no_wrap=True)
    shown.add_column("attack", overflow="fold")
    shown.add_column("success\n(95% interval)", no_wrap=True)
    shown.add_column("change\n(95% interval, paired)", no_wrap=True)
    for training, row in table.rows.items():
        shown.add_section()
        shown.add_row(TRAININGS[training], "(accuracy)", _rate(row.accuracy))
        for attack in table.kinds:
            shown.add_row("", attack, _rate(row.rates[attack]["success"]), _change(row.effects.get(attack)))
    console = Console()
    console.print(shown)
    for line in sentences(table):
        console.print(line)


def defence_figure(table: DefenceTable, heading: str) -> Figure:
    """A panel for each attack: its success on each victim with the Wilson 95% interval, and whether training helped.

    The dotted line is the success on the plain victim. What decides is the change on the same images, not whether two
    of these intervals meet.
    """
    count = len(table.kinds)
    figure = Figure(figsize=(PANEL[0] * count + 0.6, 0.28 * len(table.rows) + 1.1), layout="constrained")
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, (attack, kind) in zip(panels, table.kinds.items(), strict=True):
        for place, row in enumerate(table.rows.values()):
            rate = row.rates[attack]["success"]
            plain = attack not in row.effects
            mark, color = ("|", COLORS[3]) if plain else MARKS[row.effects[attack].helps]
            if plain:
                axes.axvline(rate.rate, color=COLORS[3], linewidth=0.6, linestyle=":")
            axes.plot([rate.low, rate.high], [place, place], color=color, linewidth=1.2)
            axes.plot(rate.rate, place, mark, color=color, markersize=4)
        axes.set_title(f"{attack} ({KINDS[kind]})", size=8, loc="left")
        axes.set_xlabel("success of the attack", size=7)
        axes.set_xlim(-0.03, 1.03)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelsize=6.5, color=QUIET)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(table.rows)), [TRAININGS[training] for training in table.rows])
    panels[0].set_ylim(len(table.rows) - 0.5, -0.5)
    panels[0].set_ylabel("trained against", size=7)
    for answer, (mark, color) in MARKS.items():
        panels[0].plot([], [], mark, color=color, markersize=4, label=HELPS[answer])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3, **LEGEND)
    return figure


def draw_defence(table: DefenceTable, heading: str, path: Path) -> None:
    """Write the picture to `path`; see defence_figure."""
    defence_figure(table, heading).savefig(path, dpi=DPI)


def _listed(effects: Mapping[str, Effect]) -> str:
    """ "helps against a; does not help against b, c; undecided against d"."""
    groups = {
        answer: ", ".join(attack for attack, effect in effects.items() if effect.helps == answer) for answer in HELPS
    }
    return "; ".join(f"{HELPS[answer]} against {attacks}" for answer, attacks in groups.items() if attacks)


def _rate(rate: Rate) -> str:
    return f"{rate.rate:.1%} ({100 * rate.low:.1f} to {rate.high:.1%})"


def _change(effect: Effect | None) -> str:
    if effect is None:
        return ""
    change = effect.change
    return f"{change.estimate:+.1%} ({100 * change.low:+.1f} to {change.high:+.1%})"
