"""How likely the study is to reach a verdict, stated before it runs from assumed spreads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from scipy.stats import nct
from scipy.stats import t as student

from cam_adv.reports.console import new_table, print_table
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig, Spread

TRUE_EFFECTS = (0.0, 0.1, 0.2)
"""Effects for which power is stated: none, a tenth, and twice that."""


@dataclass(frozen=True)
class Power:
    """Of one arm and one effect.

    above, below: by the true effect, the probability that it is shown to exceed the smallest effect that counts, and
    that it is shown to be below it.
    smallest: the true effect that is shown to exceed the smallest one that counts with a probability of 80%.
    """

    arm: str
    effect: str
    images: int
    above: dict[float, float]
    below: dict[float, float]
    smallest: float


def study_power(config: ReliabilityConfig) -> list[Power]:
    """Power of every arm for each of the four effects, a single comparison each."""
    arms = {"attack": (config.images, len(config.attributions))}
    arms |= {name: (min(arm.images, config.images), len(arm.attributions)) for name, arm in config.arms.items()}
    found = []
    for name, (images, explanations) in arms.items():
        effective = max(2, round(images * config.assumed.success))
        level = (1 - config.level) / (2 * explanations)  # Holm's first step, over both directions
        for effect, spread in config.assumed.spreads.items():
            margin = getattr(config.min_effect, effect)
            error, freedom = standard_error(spread, len(config.victims), effective)
            shown = partial(shown_above, error=error, freedom=freedom, level=level)
            above = {true: shown(true - margin) for true in TRUE_EFFECTS}
            below = {true: shown(margin - true) for true in TRUE_EFFECTS}
            smallest = margin + _smallest_distance(error, freedom, level)
            found.append(Power(name, effect, effective, above, below, smallest))
    return found


def standard_error(spread: Spread, victims: int, images: int) -> tuple[float, float]:
    """Of the mean over a full table of victims and images, and its degrees of freedom; see `crossed_mean`.

    With V victims and n images, each once: σ² = σ_V²/V + σ_n²/n + σ_r²/(Vn), by Satterthwaite.
    """
    rest = spread.rest**2 / (victims * images)
    by_victim, by_image = spread.victim**2 / victims + rest, spread.image**2 / images + rest
    if victims == 1:
        return math.sqrt(by_image), images - 1
    variance = by_victim + by_image - rest
    return math.sqrt(variance), variance**2 / (by_victim**2 / (victims - 1) + by_image**2 / (images - 1))


def shown_above(distance: float, error: float, freedom: float, level: float) -> float:
    """Probability that a one-sided t-test at a level in (0, 1) shows a mean this far above the threshold to be so."""
    return float(nct.sf(student.isf(level, freedom), freedom, distance / error))


def power_to_json(powers: list[Power]) -> list[dict[str, object]]:
    """A record for each arm and effect, with percentages rounded to whole ones."""
    return [
        {
            "arm": one.arm,
            "effect": one.effect,
            "images": one.images,
            **{f"above, if {true:g}": round(value, 2) for true, value in one.above.items()},
            **{f"below, if {true:g}": round(value, 2) for true, value in one.below.items()},
            "smallest with 80%": round(one.smallest, 3),
        }
        for one in powers
    ]


def print_power(powers: list[Power], margins: Mapping[str, float]) -> None:
    """A line for each arm and effect: how likely it is shown that a true effect of 0.2 is above what counts, and that
    one of 0 is below it; and the effect that is shown to be above with 80%."""
    table = new_table("power, from assumed spreads, before the run", compact=True)
    for heading in ("attack", "effect", "n", "counts\nfrom"):
        table.add_column(heading, no_wrap=True)
    for heading in ("0.2 is\nabove", "0 is\nbelow", "80%\nabove"):
        table.add_column(heading, justify="right")
    for one in powers:
        shown = f"{one.above[0.2]:.0%}", f"{one.below[0.0]:.0%}", f"{one.smallest:.2f}"
        table.add_row(one.arm, one.effect, str(one.images), f"{margins[one.effect]:g}", *shown)
    print_table(table)


def _smallest_distance(error: float, freedom: float, level: float) -> float:
    """The distance above the threshold that is shown with a probability of 80%, by bisection."""
    low, high = 0.0, 100 * error
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if shown_above(middle, error, freedom, level) < 0.8 else (low, middle)
    return high
