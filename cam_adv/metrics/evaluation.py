"""An attack's result, evaluated: predictions on every image, the verdict, the distances."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.attacks.base import Attack
from cam_adv.attacks.result import AttackResult
from cam_adv.data.splits import ImageSplits
from cam_adv.metrics.distances import Distances, measure_distances
from cam_adv.metrics.evaluator import Evaluator, Predictions
from cam_adv.metrics.success import AttackVerdict, type1_verdict, type2_verdict
from cam_adv.schema.fields import Kind

SAMPLE = "sample of y'"
"""What x is called in tables and figures of an attack from samples of the generator."""


@dataclass(frozen=True)
class AttackEvaluation:
    """Predictions on x, on the reconstruction G(mu(x)) and on x' of each image, the verdict, and the distances.

    reconstruction: G(mu(x)), `(N, C, H, W)`.
    start_image, generated: G(start) and G(z), `(N, C, H, W)`; None for an attack without codes.
    generated_reads: what the judge reads in G(z), `(N,)`; None for an attack without a residual, whose x' it is.
    from_samples: whether x is a sample of y' that the generator has drawn, instead of a test image of y.
    """

    kind: Kind
    result: AttackResult
    on_x: Predictions
    on_reconstruction: Predictions
    on_x_adv: Predictions
    verdict: AttackVerdict
    distances: Distances
    reconstruction: Tensor
    start_image: Tensor | None
    generated: Tensor | None
    generated_reads: Tensor | None
    from_samples: bool = False

    @property
    def perceived_label(self) -> Tensor:
        """What the judge must say of x' for a success: y' under Type I, y under Type II; `(N,)`."""
        return perceived_label(self.kind, self.result)

    @property
    def residual(self) -> Tensor | None:
        """x' − G(z), `(N, C, H, W)` in [-1, 1]; None for an attack without codes."""
        return None if self.generated is None else self.result.x_adv - self.generated

    @property
    def cluster(self) -> Tensor:
        """Number of the cluster of each result, `(N,)`: results that share start and y depend on each other."""
        if self.result.z_start is None:
            return torch.arange(len(self.result))
        start = self.result.z_start.unique(dim=0, return_inverse=True)[1]
        return torch.stack([start, self.result.y], dim=1).unique(dim=0, return_inverse=True)[1]

    @property
    def latent_distance(self) -> Tensor:
        """‖z − z0‖₂ `(N,)`; of an attack without codes between the posterior means of x' and x.

        Of a class-conditional generator, whose codes hold the class, another class counts √2.
        """
        return (self.on_x_adv.codes - self.on_x.codes).norm(dim=1)


def evaluate_attack(
    attack: Attack, result: AttackResult, evaluator: Evaluator, splits: ImageSplits, from_samples: bool = False
) -> AttackEvaluation:
    """Predict every image, judge x', and measure how far it is from x and from real images.

    Args:
        splits: the real images that x' is compared with.
        from_samples: see `AttackEvaluation`.
    """
    on_x = evaluator.predict(result.x, result.z0)
    on_x_adv = evaluator.predict(result.x_adv, result.z)
    reconstruction = evaluator.decode(on_x.codes)
    generated = None if result.z is None else evaluator.decode(result.z)
    without_residual = None if result.residual_path is None else generated
    return AttackEvaluation(
        kind=attack.kind,
        result=result,
        on_x=on_x,
        on_reconstruction=evaluator.predict(reconstruction, on_x.codes),
        on_x_adv=on_x_adv,
        verdict=verdict_on(attack, result, on_x_adv),
        distances=measure_distances(
            result.x, result.x_adv, on_x_adv.codes, perceived_label(attack.kind, result), evaluator, splits
        ),
        reconstruction=reconstruction,
        start_image=None if result.z_start is None else evaluator.decode(result.z_start),
        generated=generated,
        generated_reads=None
        if without_residual is None
        else evaluator.judge.read(without_residual, evaluator.device).reads,
        from_samples=from_samples,
    )


def perceived_label(kind: Kind, result: AttackResult) -> Tensor:
    """See `AttackEvaluation.perceived_label`."""
    return result.target if kind == "type1" else result.y


def verdict_on(attack: Attack, result: AttackResult, on_x_adv: Predictions) -> AttackVerdict:
    """The verdict on every x', by the criteria of the attack's kind."""
    if attack.kind == "type2":
        return type2_verdict(on_x_adv.victim, on_x_adv.judge_reads, result.y, result.target)
    assert attack.confidence is not None  # a Type I attack has one
    return type1_verdict(on_x_adv.victim, on_x_adv.judge_reads, result.y, result.target, attack.confidence)
