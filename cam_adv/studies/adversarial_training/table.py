"""The measurements of the victims of every training, and the effects of the trainings."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.metrics.intervals import Rate, clustered_rate
from cam_adv.metrics.success import AttackVerdict
from cam_adv.studies.adversarial_training.effect import Effect, measure_effects

PLAIN = "plain"
"""The training without adversarial images, with which the others are compared."""

CONTROL = "control"
"""The same training with other seeds: it does nothing, and must come out as that."""


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
    """

    correct: Tensor
    probability: Tensor
    confidences: dict[Measure, list[float]]
    verdicts: dict[Measure, list[AttackVerdict]]

    def success(self, measure: Measure) -> Tensor:
        """`(V, N)` bool."""
        return torch.stack([verdict.success for verdict in self.verdicts[measure]])


@dataclass(frozen=True)
class TrainingRow:
    """The victims of one training together, with 95% intervals over images, each with all of these victims.

    accuracy: on all clean test images.
    confidences: see `Observed`. clean_share: by measure, the share of test images that reach that confidence.
    rates: measure → criterion of the verdict → how often it was met.
    effects: measure → effect of this training on it; empty for `PLAIN`.
    """

    accuracy: Rate
    confidences: dict[Measure, list[float]]
    clean_share: dict[Measure, Rate]
    rates: dict[Measure, dict[str, Rate]]
    effects: dict[Measure, Effect]


@dataclass(frozen=True)
class AdversarialTrainingTable:
    """Rows by training, starting with `PLAIN` and `CONTROL`."""

    rows: dict[str, TrainingRow]
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
        changes = {
            (training, measure): of.success(measure).double() - plain.success(measure).double()
            for training, of in observed.items()
            if training != PLAIN
            for measure in of.verdicts
        }
        effects = measure_effects(changes, min_effect, level)
        rows = {
            training: TrainingRow(
                _rate(of.correct),
                of.confidences,
                {
                    measure: _rate(of.probability >= torch.tensor(confidences, dtype=torch.float64).unsqueeze(1))
                    for measure, confidences in of.confidences.items()
                },
                {measure: _criteria(verdicts) for measure, verdicts in of.verdicts.items()},
                {measure: effects[training, measure] for measure in of.verdicts if training != PLAIN},
            )
            for training, of in observed.items()
        }
        return cls(rows, next(iter(plain.verdicts.values()))[0].success.numel(), min_effect)

    @property
    def measures(self) -> list[Measure]:
        """The columns."""
        return list(self.rows[PLAIN].rates)

    @property
    def failed_controls(self) -> list[Measure]:
        """Those whose success a training that does nothing seems to change, in either direction."""
        return [
            measure
            for measure, effect in self.rows[CONTROL].effects.items()
            if effect.improves_robustness == "yes" or effect.change.low > self.min_effect
        ]


def _rate(met: Tensor) -> Rate:
    """The share of `(V, N)` bool."""
    image = torch.arange(met.shape[1]).expand(met.shape)
    return clustered_rate(met.flatten().tolist(), image.flatten().tolist())


def _criteria(verdicts: list[AttackVerdict]) -> dict[str, Rate]:
    names = vars(verdicts[0])
    return {name: _rate(torch.stack([vars(verdict)[name] for verdict in verdicts])) for name in names}
