"""How often the judge agrees with human labels."""

import torch

from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.intervals import Rate, wilson
from cam_adv.models.ensemble import Ensemble, product_of_experts
from cam_adv.models.predictions import batched_apply


def judge_agreement(judge: Ensemble, human_labels: LabelledImages, device: torch.device) -> dict[str, Rate]:
    """The share of images on which the judge, and each of its members alone, predicts the human label.

    Returns:
        "judge" and the names of the members → rate with its Wilson 95% interval.
    """
    judge.to(device)
    members = batched_apply(lambda batch: judge.member_probs(batch).transpose(0, 1), human_labels.images, device)
    probs = {"judge": product_of_experts(members, dim=1)}
    probs |= {name: members[:, number] for number, name in enumerate(judge.members)}
    agreements = {name: of.argmax(dim=1) == human_labels.labels for name, of in probs.items()}
    return {name: wilson(int(agrees.sum()), len(agrees)) for name, agrees in agreements.items()}
