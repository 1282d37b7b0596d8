"""How many false positives Type I pictures cause in "is it a c?", by their prevalence among the negatives.

A Type I picture made of an image of class y is a negative of "is it a y?" where the judge reads y' in it; pictures in
which it reads another class or nothing are left out and counted. If a share π of the negatives are such pictures, the
false positive rate is

    (1 − π)·FPR + π·passing,

where FPR is that of clean images, and `passing` the share of the pictures that exceed the threshold of y. At π = 1 it
restates the attack's own criterion, which asks more of the victim than the threshold does. Whether the attack does
anything is seen beside controls that are not attacked: pictures that pass as rarely as clean images add nothing.

- The control attack, which makes y' of the same images without regard to the victim.
- G(start) of each attack: the pictures that its walks begin with. Walks from mu(x) begin with pictures of y, which
  are no negatives.
- Reconstructions G(mu(r)) of the test images r of all other classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.metrics.intervals import Interval, Rate, clustered_rate, mixed_rate, newcombe

Question = int | None
"""A class c, for "is it a c?"; None: all classes together, where each picture and question is one trial."""


@dataclass(frozen=True)
class Negatives:
    """Pictures that are asked "is it a c?" and are meant to be no c, all `(n,)`.

    question: c. score: the victim's log-odds of c. is_read: whether the judge reads the class that they are meant to
    be. cluster: a number that pictures share which depend on each other.
    """

    question: Tensor
    score: Tensor
    is_read: Tensor
    cluster: Tensor


@dataclass(frozen=True)
class Pictures:
    """Pictures `(N, C, H, W)` that are meant to be of one class each.

    meant: that class, `(N,)`. question: the class that each is asked for, `(N,)`; None: every class but `meant`.
    cluster: a number that pictures share which depend on each other, `(N,)`.
    """

    images: Tensor
    meant: Tensor
    question: Tensor | None
    cluster: Tensor

    def negatives(self, scores: Tensor, reads: Tensor) -> Negatives:
        """The pictures as negatives, one for each question.

        Args:
            scores: the victim's log-odds of every class, `(N, K)`.
            reads: what the judge reads, `(N,)`.
        """
        if self.question is None:
            other = torch.arange(scores.shape[1]) != self.meant.unsqueeze(1)
            picture, question = other.nonzero(as_tuple=True)
        else:
            picture, question = torch.arange(len(scores)), self.question
        is_read = (reads == self.meant)[picture]
        return Negatives(question, scores[picture, question], is_read, self.cluster[picture])


@dataclass(frozen=True)
class FalsePositives:
    """Of some pictures, for one question or for all.

    pictures: number of trials in which the judge reads what is meant. left_out: number of the others.
    passing: share of the former above the threshold; None, like all that depends on it, where there are none.
    excess: `passing` minus the clean false positive rate.
    fpr: the false positive rate at each prevalence.
    """

    pictures: int
    left_out: int
    passing: Rate | None
    excess: Interval | None
    fpr: list[Rate] | None


@dataclass(frozen=True)
class FalsePositiveTable:
    """False positives by question.

    thresholds: of each class, log-odds `(K,)`. clean: the rates of clean images. pictures: by name, then by question.
    attacks: the names of those that are attacks; the others are controls.
    """

    thresholds: Tensor
    prevalences: Sequence[float]
    clean: dict[Question, Rate]
    pictures: dict[str, dict[Question, FalsePositives]]
    attacks: Collection[str]

    def beyond_controls(self) -> dict[str, dict[str, Interval | None]]:
        """Attack → control → difference of the shares that pass, over all classes; None where one has no picture."""
        together = {name: of[None].passing for name, of in self.pictures.items()}
        controls = {name: passing for name, passing in together.items() if name not in self.attacks}
        return {
            attack: {name: _difference(together[attack], passing) for name, passing in controls.items()}
            for attack in self.attacks
        }


def false_positive_table(
    clean: Negatives,
    pictures: Mapping[str, Negatives],
    attacks: Collection[str],
    thresholds: Tensor,
    prevalences: Sequence[float],
    level: float,
) -> FalsePositiveTable:
    """Count how often clean, attacked and control pictures pass.

    Args:
        clean: images with their true labels.
        pictures: of attacks and controls. attacks: which of them are attacks.
        thresholds: of each class, log-odds `(K,)`; a higher score is positive.
        prevalences: π, in (0, 1].
        level: of the intervals, which take pictures of one cluster together.
    """
    questions: list[Question] = [None, *range(len(thresholds))]
    clean_rates = {question: _passing(clean, _rows(clean, question), thresholds, level) for question in questions}

    def measure(negatives: Negatives, question: Question) -> FalsePositives:
        asked = _rows(negatives, question)
        rows = asked & negatives.is_read
        left_out = int(asked.sum() - rows.sum())
        if not rows.any():
            return FalsePositives(0, left_out, None, None, None)
        passing, fpr = _passing(negatives, rows, thresholds, level), clean_rates[question]
        mixed = [mixed_rate(prevalence, passing, fpr) for prevalence in prevalences]
        return FalsePositives(int(rows.sum()), left_out, passing, newcombe(passing, fpr), mixed)

    return FalsePositiveTable(
        thresholds,
        prevalences,
        clean_rates,
        {name: {question: measure(of, question) for question in questions} for name, of in pictures.items()},
        attacks,
    )


def _rows(negatives: Negatives, question: Question) -> Tensor:
    """Which are asked this question, or any: `(n,)` bool."""
    return torch.ones_like(negatives.is_read) if question is None else negatives.question == question


def _passing(negatives: Negatives, rows: Tensor, thresholds: Tensor, level: float) -> Rate:
    above = negatives.score[rows] > thresholds[negatives.question[rows]]
    return clustered_rate(above.tolist(), negatives.cluster[rows].tolist(), level)


def _difference(attacked: Rate | None, control: Rate | None) -> Interval | None:
    return None if attacked is None or control is None else newcombe(attacked, control)
