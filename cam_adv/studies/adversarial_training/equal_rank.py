"""The confidence of equal rank: what a probability of one victim corresponds to in another.

A Type I attack must reach a probability of y. A victim that is less confident of all images is harder to attack at a
fixed probability, although it may tell images apart no better. The confidence of equal rank is the probability that
as large a share of clean images reaches as reaches the fixed one in the victim it is compared with. It is found on
validation images, and taken as fixed by the intervals of the study.
"""

import torch
from torch import Tensor, nn

from cam_adv.data.splits import LabelledImages
from cam_adv.models.predictions import batched_apply

LARGEST = 1 - torch.finfo(torch.float32).eps
"""Largest confidence: the log-odds of 1 are infinite."""


def label_probability(victim: nn.Module, data: LabelledImages, device: torch.device) -> Tensor:
    """The victim's probability of each image's label, `(N,)`, in float64."""
    probs = batched_apply(victim, data.images, device).double().softmax(dim=1)
    return probs.gather(1, data.labels.unsqueeze(1)).squeeze(1)


def equal_rank_confidence(confidence: float, reference: Tensor, probability: Tensor) -> float:
    """The largest probability that at least as many clean images reach as reach `confidence` in the reference.

    Args:
        reference, probability: the two victims' probabilities of the labels of the same images, `(N,)`.
    """
    rank = max(1, int((reference >= confidence).sum()))
    return min(LARGEST, probability.sort(descending=True).values[rank - 1].item())
