"""How Type II attacks shift the operating point of the one-versus-rest classifier "is it a c?" of each class c.

An image is predicted positive where its score exceeds the threshold of the class. The clean operating point is that
of all test images, those that the victim misclassifies included. A Type II attack replaces the positives by
adversarial images made from images of class c that still are of class c, which can lower the true positive rate. The
judge decides which class an adversarial image is of; images that it reads as another one, or as nothing, are left out
and counted. What Type I attacks do to the false positive rate is in `false_positives`.

Only correctly classified images are attacked, and more of these exceed the threshold than of all images. The fall of
the true positive rate from the clean operating point is therefore underestimated, if anything, and the rate of the
attacked images before the attack is reported beside it. The source images are also among the clean positives, while
Newcombe's interval treats the two samples as independent: it is too wide rather than too narrow where images that
exceed the threshold clean also do so attacked.

The thresholds come from validation images and are treated as fixed: the intervals cover the sampling of test images
and of attacked images, not that of the thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.metrics.intervals import Interval, Rate, newcombe, wilson
from cam_adv.metrics.roc import ScoredImages, auc_interval, roc_curve, threshold_at_fpr
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig
from cam_adv.studies.attack_comparison.scores import Scores

Curve = tuple[Tensor, Tensor]
"""False and true positive rates; see `roc_curve`."""


@dataclass(frozen=True)
class CleanOperatingPoint:
    """The ROC curve of the clean test images, and the operating point on it."""

    positives: int
    negatives: int
    threshold: float
    tpr: Rate
    fpr: Rate
    auc: Interval
    curve: Curve


@dataclass(frozen=True)
class OperatingPointShift:
    """What one Type II attack does to the ROC curve of one class.

    images: number of adversarial images that replace the positives.
    left_out: number of those that the judge reads as another class, or as nothing.
    before, after: the true positive rate at the clean threshold. `after` and all that depends on it are None where no
        image is left.
    change: after − before, with its own interval.
    simultaneous: the same, with intervals that hold for all classes and attacks at once (Bonferroni).
    source_tpr: TPR of the images that were attacked, before the attack.
    """

    images: int
    left_out: int
    before: Rate
    after: Rate | None
    change: Interval | None
    simultaneous: Interval | None
    source_tpr: Rate | None
    auc: Interval | None
    curve: Curve | None


@dataclass(frozen=True)
class AttackedImages:
    """The images of one Type II attack, all `(N,)`.

    index, y: position of x among the test images, and its label.
    judge_reads: what the judge reads in x'; see `Judge`.
    """

    index: Tensor
    y: Tensor
    judge_reads: Tensor


@dataclass(frozen=True)
class ClassCurves:
    """One class against the rest: the clean curve, and the shift of its operating point by the attack's name."""

    clean: CleanOperatingPoint
    shifts: dict[str, OperatingPointShift]


def class_curves(
    scores: Scores,
    validation: Tensor,
    test: Tensor,
    attacks: Mapping[str, AttackedImages],
    config: AttackComparisonConfig,
    seed: int,
) -> list[ClassCurves]:
    """The curves of every class.

    Args:
        validation, test: labels of those images, `(V,)` and `(T,)`.
        attacks: of Type II, by the names of their scores.
        seed: of the bootstrap; every interval uses a new generator with this seed.
    """
    curves = []
    num_classes = scores.test.shape[1]
    simultaneous_level = 1 - (1 - config.level) / (num_classes * len(attacks))
    for label in range(num_classes):
        clean = clean_operating_point(scores, validation, test, label, config, seed)
        shifts = {
            name: operating_point_shift(scores, test, label, clean, name, attacked, config, simultaneous_level, seed)
            for name, attacked in attacks.items()
        }
        curves.append(ClassCurves(clean, shifts))
    return curves


def clean_operating_point(
    scores: Scores, validation: Tensor, test: Tensor, label: int, config: AttackComparisonConfig, seed: int
) -> CleanOperatingPoint:
    """The clean curve of class `label` against the rest; arguments as for `class_curves`."""
    threshold = threshold_at_fpr(scores.validation[validation != label, label], config.target_fpr)
    positives, negatives = clean_samples(scores, test, label)
    return CleanOperatingPoint(
        len(positives),
        len(negatives),
        threshold,
        _rate_above(positives.scores, threshold, config.level),
        _rate_above(negatives.scores, threshold, config.level),
        auc_interval(positives, negatives, config.n_resamples, config.level, torch.Generator().manual_seed(seed)),
        roc_curve(positives.scores, negatives.scores),
    )


def clean_samples(scores: Scores, test: Tensor, label: int) -> tuple[ScoredImages, ScoredImages]:
    """The clean test images of class `label`, and all others."""
    images, own = torch.arange(len(test)), test == label
    return (
        ScoredImages(scores.test[own, label], images[own]),
        ScoredImages(scores.test[~own, label], images[~own]),
    )


def operating_point_shift(
    scores: Scores,
    test: Tensor,
    label: int,
    clean: CleanOperatingPoint,
    name: str,
    attacked: AttackedImages,
    config: AttackComparisonConfig,
    simultaneous_level: float,
    seed: int,
) -> OperatingPointShift:
    """What the attack `name` does to the curve of class `label`.

    Args:
        simultaneous_level: of the intervals that hold for all classes and attacks at once.
    """
    of_class = attacked.y == label
    rows = of_class & (attacked.judge_reads == label)
    images = ScoredImages(scores.pictures[name][rows, label], attacked.index[rows])
    left_out = int(of_class.sum()) - len(images)
    if not len(images):
        return OperatingPointShift(0, left_out, clean.tpr, None, None, None, None, None, None)
    positives, negatives = clean_samples(scores, test, label)

    def change(level: float) -> Interval:
        return newcombe(*(_rate_above(of.scores, clean.threshold, level) for of in (images, positives)))

    return OperatingPointShift(
        len(images),
        left_out,
        clean.tpr,
        _rate_above(images.scores, clean.threshold, config.level),
        change(config.level),
        change(simultaneous_level),
        _rate_above(scores.test[images.image, label], clean.threshold, config.level),
        auc_interval(images, negatives, config.n_resamples, config.level, torch.Generator().manual_seed(seed)),
        roc_curve(images.scores, negatives.scores),
    )


def _rate_above(scores: Tensor, threshold: float, level: float) -> Rate:
    return wilson(int((scores > threshold).sum()), len(scores), level)
