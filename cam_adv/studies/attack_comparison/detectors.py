"""Do detectors of adversarial examples detect the attacks? Scores of images, and how well they separate image sets.

Feature squeezing is designed against Type II attacks. The generator provides two more detectors: the error of its
reconstruction of the image, and the output of its latent discriminator, which latent attacks optimise. The reference
that every detector should exceed is the victim's uncertainty, 1 − the largest softmax probability.

Every image of a latent attack is an output of the generator, and a detector may detect nothing but that. Latent
attacks are therefore also compared with the reconstructions G(mu(x)), which are not attacked, and these with the
clean images.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.metrics.intervals import Interval
from cam_adv.metrics.roc import ScoredImages, auc_interval
from cam_adv.models.predictions import batched_apply
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig, DetectorConfig
from cam_adv.studies.attack_comparison.feature_squeezing import squeezing_distance

CLEAN, RECONSTRUCTIONS = "clean", "reconstructions"

DetectorScores = dict[str, Tensor]
"""Detector → score of each image, `(N,)`, higher for images that are more likely adversarial."""

DetectionAnswer = Literal["detects", "detects neither", "does not detect", "undecided"]


@dataclass(frozen=True)
class DetectorComparison:
    """How well detectors separate two sets of images, made from the same `images` source images.

    aucs: detector → area under its ROC curve: 1 where every positive has the higher score, 0.5 at chance, below where
        positives look *less* adversarial than negatives. None for fewer than two images that don't depend on each
        other.
    """

    positives: str
    negatives: str
    images: int
    aucs: dict[str, Interval] | None


@dataclass(frozen=True)
class DetectionVerdict:
    """Whether a detector detects a Type I attack, by `decide_detection`, with a Type II pixel attack as reference.

    auc, reference_auc: of the attack and of the reference attack against clean images. reconstruction_auc: of the
    attack against reconstructions.
    """

    detector: str
    attack: str
    reference: str
    answer: DetectionAnswer
    auc: Interval
    reference_auc: Interval
    reconstruction_auc: Interval


@dataclass(frozen=True)
class DetectionResults:
    """Scores, comparisons and verdicts of all detectors.

    scores: image set (clean, reconstructions or an attack's name) → scores of all N images. success: attack → where
    it succeeded, `(N,)` bool; only these images are compared.
    """

    scores: dict[str, DetectorScores]
    success: dict[str, Tensor]
    comparisons: list[DetectorComparison]
    verdicts: list[DetectionVerdict]


def detect(
    evaluations: Mapping[str, AttackEvaluation],
    latent_attacks: Collection[str],
    evaluator: Evaluator,
    config: AttackComparisonConfig,
    seed: int,
) -> DetectionResults:
    """Score the clean images, their reconstructions and every attack's images, and compare the attacks' successes.

    Args:
        evaluations: attack → its evaluation, all on the same images in the same order.
        latent_attacks: names of the attacks whose images are outputs of the generator. The verdicts are on those of
            them that are of Type I; references are the Type II attacks that are not among them.
        seed: of the bootstrap; every comparison uses a new generator with this seed.
    """
    first = next(iter(evaluations.values()))
    image_sets = {CLEAN: first.result.x, RECONSTRUCTIONS: evaluator.decode(first.on_x.codes)}
    image_sets |= {name: evaluation.result.x_adv for name, evaluation in evaluations.items()}
    scores = {name: detector_scores(images, evaluator, config.detectors) for name, images in image_sets.items()}
    success = {name: evaluation.verdict.success for name, evaluation in evaluations.items()}
    pairs = [(name, CLEAN) for name in evaluations]
    pairs += [(name, RECONSTRUCTIONS) for name in evaluations if name in latent_attacks]
    comparisons = [
        _compare(scores, pair, success[pair[0]], evaluations[pair[0]].cluster, config, seed) for pair in pairs
    ]
    every = torch.arange(len(first.result.x))
    comparisons.append(_compare(scores, (RECONSTRUCTIONS, CLEAN), every >= 0, every, config, seed))
    type1 = [name for name, one in evaluations.items() if one.kind == "type1" and name in latent_attacks]
    references = [name for name, one in evaluations.items() if one.kind == "type2" and name not in latent_attacks]
    verdicts = _verdicts(comparisons, type1, references, config.detectors.min_auc)
    return DetectionResults(scores, success, comparisons, verdicts)


def detector_scores(images: Tensor, evaluator: Evaluator, config: DetectorConfig) -> DetectorScores:
    """Every detector's scores of images `(N, C, H, W)` in [0, 1]."""
    victim, generator = evaluator.victim, evaluator.generator
    for network in (victim, generator):
        network.to(evaluator.device)  # after training, Lightning leaves networks on the CPU

    def feature_squeezing(batch: Tensor) -> Tensor:
        return squeezing_distance(victim, batch, config.bits, config.window)

    def reconstruction_error(batch: Tensor) -> Tensor:
        return (generator.reconstruct(batch) - batch).flatten(1).norm(dim=1)

    def latent_discriminator(batch: Tensor) -> Tensor:
        return -generator.discriminator(generator.encode(batch).mean).squeeze(1)

    def victim_uncertainty(batch: Tensor) -> Tensor:
        return 1 - victim(batch).double().softmax(dim=1).amax(dim=1)

    detectors = {
        "feature squeezing": feature_squeezing,
        "reconstruction error": reconstruction_error,
        "latent discriminator": latent_discriminator,
        "victim uncertainty": victim_uncertainty,
    }
    return {name: batched_apply(detector, images, evaluator.device) for name, detector in detectors.items()}


def decide_detection(type1: Interval, type2: Interval, min_auc: float) -> DetectionAnswer:
    """Whether a detector detects a Type I attack, by the intervals of its AUC for this and for a Type II attack.

    It does where the whole interval for Type I is at least `min_auc`, and it does not where the whole interval is
    below `min_auc` and below the interval for Type II. It detects neither where both intervals are below `min_auc`.
    """
    if type1.low >= min_auc:
        return "detects"
    if type1.high < min(min_auc, type2.low):
        return "does not detect"
    return "detects neither" if max(type1.high, type2.high) < min_auc else "undecided"


def _compare(
    scores: Mapping[str, DetectorScores],
    pair: tuple[str, str],
    rows: Tensor,
    cluster: Tensor,
    config: AttackComparisonConfig,
    seed: int,
) -> DetectorComparison:
    """Compare two image sets on the selected rows, `(N,)` bool; rows of one cluster, `(N,)`, are drawn together."""
    drawn = cluster[rows]
    if len(drawn.unique()) < 2:
        return DetectorComparison(*pair, len(drawn), None)
    positives, negatives = (scores[name] for name in pair)
    aucs = {
        detector: auc_interval(
            ScoredImages(positives[detector][rows], drawn),
            ScoredImages(negatives[detector][rows], drawn),
            config.n_resamples,
            config.level,
            torch.Generator().manual_seed(seed),
        )
        for detector in positives
    }
    return DetectorComparison(*pair, len(drawn), aucs)


def _verdicts(
    comparisons: list[DetectorComparison], type1: list[str], references: list[str], min_auc: float
) -> list[DetectionVerdict]:
    """For every pair of a Type I attack and a reference attack that have enough successes."""
    aucs = {(one.positives, one.negatives): one.aucs for one in comparisons if one.aucs is not None}
    return [
        DetectionVerdict(
            detector,
            attack,
            reference,
            decide_detection(auc, aucs[reference, CLEAN][detector], min_auc),
            auc,
            aucs[reference, CLEAN][detector],
            aucs[attack, RECONSTRUCTIONS][detector],
        )
        for attack, reference in product(type1, references)
        if (attack, CLEAN) in aucs and (reference, CLEAN) in aucs
        for detector, auc in aucs[attack, CLEAN].items()
    ]
