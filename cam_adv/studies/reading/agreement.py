"""How far readers agree: the share of equal answers, and kappa, which takes off what chance alone would give."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Agreement:
    """share: of the pairs of readers and pictures in which both gave the same answer.

    kappa: Cohen's for two readers, Fleiss' for more; None where all gave one and the same answer to every picture, so
        that chance alone would give full agreement.
    """

    share: float
    kappa: float | None


def reader_agreement(answer: Tensor) -> Agreement:
    """Agreement on which of several classes pictures show.

    Cohen's kappa (1960) takes the shares of each reader's own answers for chance, Fleiss' (1971) those of all
    readers together.

    Args:
        answer: `(pictures, readers)` int64, any numbers as classes; at least one picture and two readers.
    """
    classes, index = answer.unique(return_inverse=True)
    given = torch.nn.functional.one_hot(index, len(classes)).double()  # (pictures, readers, classes)
    readers = answer.shape[1]
    counts = given.sum(dim=1)
    pairs = (counts * (counts - 1)).sum(dim=1) / (readers * (readers - 1))
    share = pairs.mean().item()
    by_reader = given.mean(dim=0)
    chance = (by_reader.prod(dim=0) if readers == 2 else by_reader.mean(dim=0).square()).sum().item()
    return Agreement(share, None if len(classes) == 1 else (share - chance) / (1 - chance))
