"""Do detectors see the attacks? Scores of images, higher for what is more suspicious, and what they tell apart.

Feature squeezing is made against Type II. The generator gives two more: how badly it draws the image again, and how
little its latent discriminator takes the image's code for a draw from the prior, which is what latent attacks ask of
their codes. The victim's own doubt is the reference that any detector has to beat.

Every picture of a latent attack is made by the generator, and a detector may see no more than that. So such attacks
are also held against the reconstructions G(mu(x)), which nobody attacked, and these against the clean images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.intervals import Interval
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.evaluation.roc import Sample, area_interval
from cam_adv.kinds.feature_squeezing import squeezing_distance
from cam_adv.networks.predictions import in_batches
from cam_adv.settings import DetectorSettings, KindsSettings, LatentAttackSettings, PixelAttackSettings

CLEAN, RECONSTRUCTIONS = "clean", "reconstructions"

Suspicion = dict[str, Tensor]
"""Detector → score of each image, `(N,)`."""

Answer = Literal["sees", "sees neither", "does not see", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """How well detectors tell `suspects` from `others`, the same `images` on both sides.

    areas: by detector, the area under its ROC curve: 1 where every suspect is the more suspicious, 0.5 where there is
    nothing to see, below where suspects look *less* suspicious than the others. None of fewer than two images.
    """

    suspects: str
    others: str
    images: int
    areas: dict[str, Interval] | None


@dataclass(frozen=True)
class Sighting:
    """Whether a detector sees a Type I attack, by `sight`, beside a Type II attack on pixels that it was made for.

    area: of the attack against clean images. area_beside: of `beside`, the same. area_drawn: of the attack against
    reconstructions.
    """

    detector: str
    attack: str
    beside: str
    answer: Answer
    area: Interval
    area_beside: Interval
    area_drawn: Interval


@dataclass(frozen=True)
class Detection:
    """Everything that detectors were asked.

    scores: by picture (clean, reconstructions or an attack's name), of all N images. counted: by attack, where it
    succeeded, `(N,)` bool.
    """

    scores: dict[str, Suspicion]
    counted: dict[str, Tensor]
    comparisons: list[Comparison]
    sightings: list[Sighting]


def detect(assessments: Mapping[str, Assessment], witnesses: Witnesses, plan: KindsSettings, seed: int) -> Detection:
    """Ask every detector about the clean images, their reconstructions, and every attack's successes.

    Args:
        assessments: of the plan's attacks by name, all on the same images in the same order.
        seed: every comparison is made on the same resamples of its images.
    """
    first = next(iter(assessments.values())).result
    pictures = {CLEAN: first.x, RECONSTRUCTIONS: witnesses.draw(first.z0)}
    pictures |= {name: one.result.x_adv for name, one in assessments.items()}
    scores = {name: suspicion(images, witnesses, plan.detectors) for name, images in pictures.items()}
    counted = {name: one.verdict.success for name, one in assessments.items()}
    asked = [(name, CLEAN) for name in assessments]
    asked += [(name, RECONSTRUCTIONS) for name in assessments if isinstance(plan.attacks[name], LatentAttackSettings)]
    everything = {RECONSTRUCTIONS: torch.ones(len(first.x), dtype=torch.bool)}
    comparisons = [
        _compare(scores, names, (everything | counted)[names[0]], plan, seed)
        for names in [*asked, (RECONSTRUCTIONS, CLEAN)]
    ]
    return Detection(scores, counted, comparisons, _sightings(comparisons, plan))


def suspicion(images: Tensor, witnesses: Witnesses, plan: DetectorSettings) -> Suspicion:
    """What every detector says of images `(N, C, H, W)` in [0, 1]: higher, more suspicious."""
    victim, generator = witnesses.victim, witnesses.generator
    for network in (victim, generator):
        network.to(witnesses.device)  # a Trainer that has finished leaves its networks on the CPU

    def squeezed(part: Tensor) -> Tensor:
        return squeezing_distance(victim, part, plan.bits, plan.window)

    def redrawn(part: Tensor) -> Tensor:
        return (generator.reconstruct(part) - part).flatten(1).norm(dim=1)

    def unlikely(part: Tensor) -> Tensor:
        return -generator.discriminator(generator.encode(part).mean).squeeze(1)

    def doubt(part: Tensor) -> Tensor:
        return 1 - victim(part).double().softmax(dim=1).amax(dim=1)

    detectors = {
        "feature squeezing": squeezed,
        "reconstruction error": redrawn,
        "latent discriminator": unlikely,
        "victim's doubt": doubt,
    }
    return {name: in_batches(score, images, witnesses.device) for name, score in detectors.items()}


def sight(type1: Interval, type2: Interval, seen_from: float) -> Answer:
    """The rule by which a detector is said to see Type I.

    It does where the whole interval for Type I lies at `seen_from` or above, and it does not where the whole interval
    lies below that and below the interval for Type II. Where both intervals lie below it, it sees neither.
    """
    if type1.low >= seen_from:
        return "sees"
    if type1.high < min(seen_from, type2.low):
        return "does not see"
    return "sees neither" if max(type1.high, type2.high) < seen_from else "undecided"


def _compare(
    scores: Mapping[str, Suspicion], names: tuple[str, str], counted: Tensor, plan: KindsSettings, seed: int
) -> Comparison:
    image = counted.nonzero().squeeze(1)
    suspects, others = (scores[name] for name in names)
    if len(image) < 2:
        return Comparison(*names, len(image), None)
    areas = {
        detector: area_interval(
            Sample(suspects[detector][counted], image),
            Sample(others[detector][counted], image),
            plan.resamples,
            plan.level,
            torch.Generator().manual_seed(seed),
        )
        for detector in suspects
    }
    return Comparison(*names, len(image), areas)


def _sightings(comparisons: list[Comparison], plan: KindsSettings) -> list[Sighting]:
    """For every attack of Type I, beside every one of Type II on pixels, as far as they have enough successes."""
    areas = {(one.suspects, one.others): one.areas for one in comparisons if one.areas is not None}
    type1 = [name for name, attack in plan.attacks.items() if attack.kind == "type1"]
    type2 = [name for name, attack in plan.attacks.items() if isinstance(attack, PixelAttackSettings)]
    return [
        Sighting(
            detector,
            name,
            beside,
            sight(area, areas[beside, CLEAN][detector], plan.detectors.seen_from),
            area,
            areas[beside, CLEAN][detector],
            areas[name, RECONSTRUCTIONS][detector],
        )
        for name, beside in product(type1, type2)
        if (name, CLEAN) in areas and (beside, CLEAN) in areas
        for detector, area in areas[name, CLEAN].items()
    ]
