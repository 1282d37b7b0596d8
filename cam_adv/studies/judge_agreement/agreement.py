"""What the judge reads in pictures beside what people read in them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cam_adv.data.human_labels import NOTHING, HumanLabels
from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.intervals import Rate, wilson
from cam_adv.models.judge import Judge

TEXTS = {
    "real_accepted": "real test images: the judge reads a class",
    "real_right": "real test images that it reads: as their label",
    "agreed_accepted": "pictures in which all readers see one class: the judge reads a class",
    "agreed_right": "of those that it reads: as the readers do",
    "agreed_likeliest": "of all those: its likeliest class is the readers'",
    "nothing_accepted": "pictures in which a reader sees nothing: the judge reads a class",
}
"""The rates in words, in the order of the table."""


def judge_agreement(judge: Judge, people: HumanLabels, real: LabelledImages, device: torch.device) -> dict[str, Rate]:
    """How often the judge reads a class, and how often it is that of people, with Wilson 95% intervals.

    Args:
        real: test images, which say what the same thresholds cost on real images.

    Returns:
        The rates by the names of `TEXTS`; a rate of no picture is left out.
    """
    on_people, on_real = judge.read(people.images, device), judge.read(real.images, device)
    first, agreed = people.labels[:, 0], people.agreed
    accepted, real_accepted = on_people.reads != NOTHING, on_real.reads != NOTHING
    met: Mapping[str, Tensor] = {
        "real_accepted": real_accepted,
        "real_right": (on_real.reads == real.labels)[real_accepted],
        "agreed_accepted": accepted[agreed],
        "agreed_right": (on_people.reads == first)[agreed & accepted],
        "agreed_likeliest": (on_people.probs.argmax(dim=1) == first)[agreed],
        "nothing_accepted": accepted[people.nothing],
    }
    return {name: wilson(int(one.sum()), len(one)) for name, one in met.items() if len(one)}
