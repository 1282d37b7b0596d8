"""The further networks of the study: several victims, and sanity-check models.

Sanity-check models have the victim's architecture and have not learnt the images' classes. A map that changes as much
in these as in the victim depends on the image, not on what the victim has learnt (Adebayo et al. 2018, arXiv
1810.03292).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.schema.models import VictimSettings
from cam_adv.training.model_zoo import ModelHandle, ModelZoo

SHUFFLED_LABELS = "shuffled_labels"
RANDOM_WEIGHTS = "random_weights"


def build_victims(settings: VictimSettings, seeds: Sequence[int], zoo: ModelZoo) -> dict[int, ModelHandle]:
    """By seed, the configured victim with other initial weights and another order of the images."""
    return {seed: _with_seed(settings, seed, zoo) for seed in seeds}


def build_with_shuffled_labels(settings: VictimSettings, seed: int, zoo: ModelZoo, shuffle_seed: int) -> ModelHandle:
    """A victim that is trained on the same images with their training labels permuted at random."""
    shuffled = replace(zoo, splits=_with_shuffled_labels(zoo.splits, shuffle_seed))
    return _with_seed(settings, seed, shuffled, ", shuffled labels")


def build_with_random_weights(settings: VictimSettings, seed: int, zoo: ModelZoo) -> torch.nn.Module:
    """A victim with its initial weights."""
    return _with_seed(settings, seed, zoo).network.eval().requires_grad_(False)


def _with_seed(settings: VictimSettings, seed: int, zoo: ModelZoo, remark: str = "") -> ModelHandle:
    model = zoo.victim(settings.model_copy(update={"seed": seed}))
    return replace(model, title=f"{model.title}, seed {seed}{remark}")


def _with_shuffled_labels(splits: ImageSplits, seed: int) -> ImageSplits:
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))
    return replace(splits, train=LabelledImages(splits.train.images, splits.train.labels[order]))
