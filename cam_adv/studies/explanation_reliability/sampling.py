"""Which images are attacked and with which targets, the same for every victim."""

import torch
from torch import Tensor

from cam_adv.data.selection import Selection
from cam_adv.errors import UserError


def sample_pairs(
    labels: Tensor, eligible: Tensor, num_classes: int, images: int, targets: int, source: int | None, seed: int
) -> Selection:
    """Draw images, and several different target classes for each of them.

    Args:
        labels: of all test images, `(T,)` in [0, K).
        eligible: `(T,)` bool, the images that every victim classifies correctly.
        num_classes: K.
        images: how many to draw, without replacement.
        targets: how many of the K − 1 other classes each image gets.
        source: the class to draw from, or None for all.
        seed: of the random generator.

    Returns:
        `images` times `targets` rows, those of an image one after the other.

    Raises:
        UserError: there are fewer eligible images than `images`.
    """
    generator = torch.Generator().manual_seed(seed)
    pool = (eligible if source is None else eligible & (labels == source)).nonzero().squeeze(1)
    if len(pool) < images:
        raise UserError(
            f"study.images={images}, but only {len(pool)} test images can be attacked on every victim.",
            f"Set study.images to {len(pool)} or less.",
        )
    index = pool[torch.randperm(len(pool), generator=generator)[:images]].sort().values
    offsets = torch.stack([torch.randperm(num_classes - 1, generator=generator)[:targets] + 1 for _ in range(images)])
    y = labels[index].repeat_interleave(targets)
    return Selection(index.repeat_interleave(targets), y, (y + offsets.flatten()) % num_classes)
