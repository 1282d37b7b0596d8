"""The measurements of the victims of every training, and the effects of the trainings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cam_adv.metrics.clusters import connected_clusters
from cam_adv.metrics.intervals import Rate, clustered_rate
from cam_adv.metrics.success import AttackVerdict
from cam_adv.studies.adversarial_training.effect import Change, ControlCheck, Effect, check_control, measure_effects

PLAIN = "plain"
"""The training without adversarial images, with which the others are compared."""

CONTROL = "control"
"""The same training with other seeds: it does nothing, and must come out as that; see `check_control`."""


@dataclass(frozen=True)
class Measure:
    """An attack's success: where Type I asks for the attack's own confidence, or for that of equal rank."""

    attack: str
    equal_rank: bool = False

    @property
    def name(self) -> str:
        return f"{self.attack} at equal rank" if self.equal_rank else self.attack


@dataclass(frozen=True)
class Observed:
    """What was observed of the V victims of one training, on the same images in the same order for all trainings.

    correct: which of the T test images each classifies correctly, `(V, T)`.
    probability: that of the label of each test image, `(V, T)`.
    confidences: measure of a Type I attack → the confidence that each victim's success asks for.
    verdicts: measure → victim → verdict on N attacked images.
    starts: measure → what the attack of each image started from, one vector of numbers, `(V, N, D)`. Equal ones make
        images depend on each other.
    """

    correct: Tensor
    probability: Tensor
    confidences: dict[Measure, list[float]]
    verdicts: dict[Measure, list[AttackVerdict]]
    starts: dict[Measure, Tensor]

    def success(self, measure: Measure) -> Tensor:
        """`(V, N)` bool."""
        return torch.stack([verdict.success for verdict in self.verdicts[measure]])


@dataclass(frozen=True)
class TrainingRow:
    """The victims of one training together, with 95% intervals over clusters of images, each with all these victims.

    accuracy: on all clean test images.
    confidences: see `Observed`. clean_share: by measure, the share of test images that reach that confidence.
    rates: measure → criterion of the verdict → how often it was met.
    effects: measure → effect of this training on it; empty for `PLAIN` and `CONTROL`.
    """

    accuracy: Rate
    confidences: dict[Measure, list[float]]
    clean_share: dict[Measure, Rate]
    rates: dict[Measure, dict[str, Rate]]
    effects: dict[Measure, Effect]


@dataclass(frozen=True)
class AdversarialTrainingTable:
    """Rows by training, starting with `PLAIN` and `CONTROL`.

    controls: measure → whether the control does nothing to it; elsewhere the verdicts on all trainings are withheld.
    """

    rows: dict[str, TrainingRow]
    controls: dict[Measure, ControlCheck]
    images: int
    min_effect: float

    @classmethod
    def build(cls, observed: Mapping[str, Observed], min_effect: float, level: float) -> "AdversarialTrainingTable":
        """
        Args:
            observed: by training; those of `PLAIN` have as many victims as the others.
            min_effect: the smallest fall of the success rate that counts.
            level: of the intervals of the effects.
        """
        plain = observed[PLAIN]
        controls = {
            measure: check_control(_change(plain, observed[CONTROL], measure), min_effect, level)
            for measure in plain.verdicts
        }
        changes = {
            (training, measure): _change(plain, of, measure)
            for training, of in observed.items()
            if training not in (PLAIN, CONTROL)
            for measure in of.verdicts
        }
        effects = {
            (training, measure): effect
            if controls[measure].does_nothing == "yes"
            else replace(effect, improves_robustness="withheld")
            for (training, measure), effect in measure_effects(changes, min_effect, level).items()
        }
        rows = {
            training: TrainingRow(
                _rate(of.correct),
                of.confidences,
                {
                    measure: _rate(of.probability >= torch.tensor(confidences, dtype=torch.float64).unsqueeze(1))
                    for measure, confidences in of.confidences.items()
                },
                {measure: _criteria(verdicts, of.starts[measure]) for measure, verdicts in of.verdicts.items()},
                {measure: effects[training, measure] for measure in of.verdicts if (training, measure) in effects},
            )
            for training, of in observed.items()
        }
        return cls(rows, controls, next(iter(plain.verdicts.values()))[0].success.numel(), min_effect)

    @property
    def measures(self) -> list[Measure]:
        """The columns."""
        return list(self.rows[PLAIN].rates)


def _change(before: Observed, after: Observed, measure: Measure) -> Change:
    """Images are in one cluster where any victim of either training was attacked from one start."""
    cluster = _clusters(torch.cat([before.starts[measure], after.starts[measure]]))
    return Change(after.success(measure).double() - before.success(measure).double(), cluster)


def _clusters(starts: Tensor) -> Tensor:
    """The cluster of each image, `(N,)`, by the starts of all victims `(V, N, D)`."""
    victims, images, _ = starts.shape
    image = torch.arange(images).repeat(victims)
    return connected_clusters(image, starts.flatten(0, 1))[:images]


def _rate(met: Tensor, cluster: Tensor | None = None) -> Rate:
    """The share of `(V, N)` bool, with the images' clusters `(N,)`; None: each image is one."""
    cluster = torch.arange(met.shape[1]) if cluster is None else cluster
    return clustered_rate(met.flatten().tolist(), cluster.repeat(len(met)).tolist())


def _criteria(verdicts: list[AttackVerdict], starts: Tensor) -> dict[str, Rate]:
    names, cluster = vars(verdicts[0]), _clusters(starts)
    return {name: _rate(torch.stack([vars(verdict)[name] for verdict in verdicts]), cluster) for name in names}
