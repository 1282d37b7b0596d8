"""Does the judge answer as people do?"""

import torch

from cam_adv.data.splits import LabelledImages
from cam_adv.evaluation.intervals import Rate, wilson
from cam_adv.networks.ensemble import Ensemble, joint
from cam_adv.networks.predictions import in_batches


def agreement(judge: Ensemble, people: LabelledImages, device: torch.device) -> dict[str, Rate]:
    """The share of pictures on which the judge, and each of its members alone, gives the label that people gave."""
    judge.to(device)
    members = in_batches(lambda part: judge.member_probs(part).transpose(0, 1), people.images, device)
    answers = {"judge": joint(members, dim=1)}
    answers |= {name: members[:, number] for number, name in enumerate(judge.members)}
    agrees = {name: probs.argmax(dim=1) == people.labels for name, probs in answers.items()}
    return {name: wilson(int(same.sum()), len(same)) for name, same in agrees.items()}
