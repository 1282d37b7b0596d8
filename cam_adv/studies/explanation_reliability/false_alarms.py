"""How often the rules of a plan are wrong in simulated studies.

`python -m cam_adv.studies.explanation_reliability.false_alarms RUN/plan.json --studies 1000`

Victims and images of the simulated studies have the spreads that the plan assumes, two of three images share their
start, and the spread of images has heavy tails. For H1 and H2 the true effect is exactly the smallest one that
counts, so that yes and no are both wrong. For H3 attacked maps are drawn as clean ones and shifted: not at all, where
no is wrong, or so far that yes is.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import binom
from torch import Tensor

from cam_adv.reports.console import new_table, print_table
from cam_adv.runtime.progress import track
from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL
from cam_adv.studies.explanation_reliability.claims import Claims
from cam_adv.studies.explanation_reliability.concealment import detector_auc_contributions
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig, Spread
from cam_adv.studies.explanation_reliability.measurements import (
    ADVANTAGE,
    DISSIMILARITY,
    INK,
    MEAN_MAP,
    Table,
    concatenate,
)

PAIRS, MAP_SIDE, SHIFTS = 40, 4, (0.0, 1.0, 2.0)
"""Of the simulated detectors: matched pairs of a victim, side of a map, and shifts of attacked maps."""

FAR = 1.0
"""How far effects are above the smallest that counts where they shall not matter."""


@dataclass(frozen=True)
class FalseAlarms:
    """Of one simulated case: shares of the studies with each verdict, and means of the two effects of H3.

    wrong: the verdicts that are false alarms.
    """

    case: str
    yes: float
    no: float
    wrong: tuple[str, ...]
    added: float | None = None
    caught: float | None = None


def simulate(config: ReliabilityConfig, studies: int, seed: int) -> list[FalseAlarms]:
    """All cases, each with as many simulated studies of one explanation."""
    generator = torch.Generator().manual_seed(seed)
    cases = [
        _effects(config, claim, shared, studies, generator)
        for claim in ("instability", "unfaithfulness")
        for shared in (False, True)
    ]
    return cases + [_detectors(config, shift, studies, generator) for shift in SHIFTS]


def _effects(
    config: ReliabilityConfig, claim: str, every_control: bool, studies: int, generator: torch.Generator
) -> FalseAlarms:
    """H1 or H2 with an effect of exactly the smallest size beyond one matched control, or beyond every one."""
    claims, key = Claims(config), _key(config, round(config.images * config.assumed.success))
    margin, spread = getattr(config.min_effect, claim), config.assumed.spreads[claim]
    given = []
    for _ in track(range(studies), f"{claim}, {'every' if every_control else 'one'} control", "studies"):
        differences = {
            name: margin + _draw(key, spread, generator) + (0 if every_control or number == 0 else FAR)
            for number, name in enumerate(config.matched)
        }
        attack = torch.zeros(len(key["image"]))
        if claim == "instability":
            table = {DISSIMILARITY + name: -values for name, values in differences.items()}
            finding = claims.instability({"one": key | table | {DISSIMILARITY + ADVERSARIAL: attack}})["one"]
        else:
            table = {ADVANTAGE + name: values for name, values in differences.items()}
            table |= {ADVANTAGE + ADVERSARIAL: attack, ADVANTAGE + "x": attack + FAR + margin}
            table |= {ADVANTAGE + name: attack + 0.01 * _draw(key, spread, generator) for name in (MEAN_MAP, INK)}
            finding = claims.unfaithfulness({"one": key | table})["one"]
        given.append(finding.verdict)
    name = f"{claim}: at the smallest effect beyond {'every control' if every_control else 'one control'}"
    return FalseAlarms(name, given.count("yes") / studies, given.count("no") / studies, ("yes", "no"))


def _detectors(config: ReliabilityConfig, shift: float, studies: int, generator: torch.Generator) -> FalseAlarms:
    """H3 with attacked maps that are shifted by some standard deviations in one direction."""
    claims, key = Claims(config), _key(config, PAIRS)
    given, added, caught = [], [], []
    for number in track(range(studies), f"concealment, shift {shift:g}", "studies"):
        tables: list[Table] = []
        for victim in config.victims:
            of_victim = {name: values[key["victim"] == victim] for name, values in key.items()}
            count = len(of_victim["image"])
            confidence = torch.randn(2, count, 2, generator=generator)
            maps = torch.randn(2, count, MAP_SIDE, MAP_SIDE, generator=generator)
            maps[0] += shift / MAP_SIDE  # ‖shift of the whole map‖ = shift
            label = of_victim["image"] % 2
            folds, fpr = config.folds, config.target_fpr
            columns = detector_auc_contributions(
                (confidence[0], confidence[1]),
                (maps[0], maps[1]),
                None,
                label,
                of_victim["image"],
                folds,
                fpr,
                number,
            )
            tables.append(of_victim | columns)
        pairs = concatenate(tables)
        finding = claims.concealment({"one": (pairs, pairs)})["one"]
        given.append(finding.verdict)
        added.append((pairs["both"] - pairs["confidence"]).mean().item())
        caught.append((pairs["evades_confidence"] - pairs["evades_both"]).mean().item())
    mean_added, mean_caught = sum(added) / studies, sum(caught) / studies
    conceals = mean_added < config.min_effect.concealment and mean_caught < config.min_effect.passing
    name = f"concealment: maps shifted by {shift:g} standard deviations"
    shares = given.count("yes") / studies, given.count("no") / studies
    return FalseAlarms(name, *shares, ("no",) if conceals else ("yes",), mean_added, mean_caught)


def _key(config: ReliabilityConfig, images: int) -> Table:
    """Every victim on every image; images 0 and 1 have one start, image 2 its own, and so on."""
    image = torch.arange(images).repeat(len(config.victims))
    start = torch.where(image % 3 == 1, image - 1, image)
    victim = torch.tensor(config.victims).repeat_interleave(images)
    return {"victim": victim, "image": image, "start": start[:, None]}


def _draw(key: Table, spread: Spread, generator: torch.Generator) -> Tensor:
    """Values of mean 0 for every row; images that share a start share their effect, Student's with 5 degrees."""
    _, victim = key["victim"].unique(return_inverse=True)
    normal = torch.randn(len(victim) + 7 * len(key["image"].unique()), generator=generator, dtype=torch.float64)
    rest, images = normal[: len(victim)], normal[len(victim) :].reshape(-1, 7)
    heavy = images[:, 0] / images[:, 1:6].square().mean(dim=1).sqrt() * (3 / 5) ** 0.5
    victims = torch.randn(int(victim.max()) + 1, generator=generator, dtype=torch.float64)
    by_image = heavy[key["start"].flatten()]
    return spread.victim * victims[victim] + spread.image * by_image + spread.rest * rest


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="plan.json of a run of the study")
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each case")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(given)
    try:
        content = json.loads(arguments.plan.read_text(encoding="utf-8"))["study"]
        fields = {name: content[name] for name in ReliabilityConfig.model_fields} | {"arms": {}}
    except (OSError, ValueError, LookupError, TypeError) as error:
        parser.error(
            f"{arguments.plan} is no plan of this version ({error}): give the plan.json of a run of the study"
        )
    config, studies = ReliabilityConfig(**fields), arguments.studies
    table = new_table(f"verdicts in {studies} simulated studies of {len(config.victims)} victims")
    for heading in ("case", "AUC\nadded", "caught\nbeyond", "yes", "no", "wrong", "allowed"):
        table.add_column(heading)
    for one in simulate(config, studies, arguments.seed):
        wrong = sum(getattr(one, verdict) for verdict in one.wrong)
        allowed = binom.ppf(0.975, studies, 1 - config.level) / studies
        effects = ("" if value is None else f"{value:.2f}" for value in (one.added, one.caught))
        shares = f"{one.yes:.1%}", f"{one.no:.1%}", f"{wrong:.1%}", f"≤ {allowed:.1%}"
        table.add_row(one.case, *effects, *shares)
    print_table(table)


if __name__ == "__main__":
    main()
