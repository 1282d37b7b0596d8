"""Where an attack moves the operating point of "is it a c?", a question with a threshold of its own for each class c.

A score above the threshold says yes. The clean point is that of all test images, the victim's errors included. A
Type II attack replaces the positives by pictures made from images of class c that still are of class c, which can
push the true positive rate down. A Type I attack replaces the negatives by pictures made from images of class c that
are of it no more, which can push the false positive rate up. What a picture is, the judge says; pictures of which it
says otherwise are left out and counted.

Only images that the victim classifies correctly are attacked, and of these more than of all pass the threshold. So
the fall of the true positive rate from the clean point is told too small, if anything, and the rate of the attacked
images themselves, before they were attacked, stands beside it. (A picture of Type I has no such "before": the image
that it was made from was a positive.) Those images are among the clean positives, too, while Newcombe's interval
takes the two for independent: too wide rather than too narrow, where images that pass clean also pass attacked.

The thresholds come from validation images and are taken as they are: intervals speak of other test images and other
attacked ones, not of other thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.evaluation.intervals import Interval, Rate, newcombe, wilson
from cam_adv.evaluation.roc import Sample, area_interval, roc_curve, threshold_for
from cam_adv.kinds.scores import Scores
from cam_adv.settings import Kind, KindsSettings

Curve = tuple[Tensor, Tensor]
"""See `roc_curve`."""


@dataclass(frozen=True)
class Clean:
    """The curve of clean test images, and the operating point on it."""

    positives: int
    negatives: int
    threshold: float
    tpr: Rate
    fpr: Rate
    auc: Interval
    curve: Curve


@dataclass(frozen=True)
class Movement:
    """What one attack makes of the curve of one class.

    pictures: how many stand for the positives (Type II) or the negatives (Type I).
    left_out: of how many the judge says otherwise.
    before, after: the rate that the attack can move, at the clean threshold: TPR under Type II, FPR under Type I.
        After it is None where no picture is left, and with it all that follows.
    change: after − before, with the interval of its own.
    together: the same with intervals so wide that those of all classes and attacks hold at once (Bonferroni).
    sources: TPR of the images from which the pictures were made; None under Type I.
    """

    kind: Kind
    pictures: int
    left_out: int
    before: Rate
    after: Rate | None
    change: Interval | None
    together: Interval | None
    sources: Rate | None
    auc: Interval | None
    curve: Curve | None


@dataclass(frozen=True)
class Attacked:
    """One attack: the position of each x among the test images, its label, and what the judge says of x', `(N,)`."""

    kind: Kind
    index: Tensor
    y: Tensor
    judged: Tensor


@dataclass(frozen=True)
class ClassCurves:
    """Of one class against the rest: the clean curve, and what each attack makes of it, by the attack's name."""

    clean: Clean
    movements: dict[str, Movement]


def class_curves(
    scores: Scores,
    validation: Tensor,
    test: Tensor,
    attacks: Mapping[str, Attacked],
    plan: KindsSettings,
    seed: int,
) -> list[ClassCurves]:
    """Every class in turn.

    Args:
        validation, test: labels of those images, `(V,)` and `(T,)`.
        attacks: by the names of their scores.
        seed: of the bootstrap; each interval draws from its own beginning.
    """
    found = []
    for label in range(scores.test.shape[1]):
        clean = clean_point(scores, validation, test, label, plan, seed)
        movements = {
            name: movement(scores, test, label, clean, name, attacked, plan, seed)
            for name, attacked in attacks.items()
        }
        found.append(ClassCurves(clean, movements))
    return found


def clean_point(
    scores: Scores, validation: Tensor, test: Tensor, label: int, plan: KindsSettings, seed: int
) -> Clean:
    """Of one class against the rest; see `class_curves`."""
    threshold = threshold_for(scores.validation[validation != label, label], plan.false_alarms)
    positives, negatives = clean_samples(scores, test, label)
    return Clean(
        len(positives),
        len(negatives),
        threshold,
        _above(positives.scores, threshold, plan.level),
        _above(negatives.scores, threshold, plan.level),
        area_interval(positives, negatives, plan.resamples, plan.level, torch.Generator().manual_seed(seed)),
        roc_curve(positives.scores, negatives.scores),
    )


def clean_samples(scores: Scores, test: Tensor, label: int) -> tuple[Sample, Sample]:
    """The test images of a class, and all others."""
    images = torch.arange(len(test))
    return tuple(Sample(scores.test[own, label], images[own]) for own in (test == label, test != label))


def movement(
    scores: Scores,
    test: Tensor,
    label: int,
    clean: Clean,
    name: str,
    attacked: Attacked,
    plan: KindsSettings,
    seed: int,
) -> Movement:
    """What the attack `name` makes of one class's curve."""
    of_class = attacked.y == label
    says_label = attacked.judged == label
    rows = of_class & (says_label if attacked.kind == "type2" else ~says_label)
    pictures = Sample(scores.attacked[name][rows, label], attacked.index[rows])
    before = clean.tpr if attacked.kind == "type2" else clean.fpr
    left_out = int(of_class.sum()) - len(pictures)
    if not len(pictures):
        return Movement(attacked.kind, 0, left_out, before, None, None, None, None, None, None)
    positives, negatives = clean_samples(scores, test, label)
    replaced = (pictures, negatives) if attacked.kind == "type2" else (positives, pictures)
    together = 1 - (1 - plan.level) / (scores.test.shape[1] * len(plan.attacks))

    def change(level: float) -> Interval:
        clean_scores = (positives if attacked.kind == "type2" else negatives).scores
        return newcombe(*(_above(these, clean.threshold, level) for these in (pictures.scores, clean_scores)))

    return Movement(
        attacked.kind,
        len(pictures),
        left_out,
        before,
        _above(pictures.scores, clean.threshold, plan.level),
        change(plan.level),
        change(together),
        _above(scores.test[pictures.image, label], clean.threshold, plan.level) if attacked.kind == "type2" else None,
        area_interval(*replaced, plan.resamples, plan.level, torch.Generator().manual_seed(seed)),
        roc_curve(*(sample.scores for sample in replaced)),
    )


def _above(scores: Tensor, threshold: float, level: float) -> Rate:
    return wilson(int((scores > threshold).sum()), len(scores), level)
