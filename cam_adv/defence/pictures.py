"""Attacked pictures as training images, with the label that a person is meant to see."""

from dataclasses import replace

import torch

from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import ImageSplits, LabelledImages


def as_training_images(result: AttackResult) -> LabelledImages:
    """Every picture of a Type I attack, failures included, in 8 bits and labelled y'.

    The label is the one that was intended. Nobody looks whether the attack reached it: a judge that took part in
    training could not judge what comes of it.
    """
    return LabelledImages((result.x_adv * 255).round().byte(), result.target)


def with_added(splits: ImageSplits, pictures: LabelledImages, share: float) -> ImageSplits:
    """The same splits, to whose training images pictures are added, repeated in turn until they make up their share.

    Args:
        share: of the new training images that are such pictures, in (0, 1).
    """
    train = splits.train
    count = round(share / (1 - share) * len(train))
    added = pictures[torch.arange(count) % len(pictures)]
    images, labels = torch.cat([train.images, added.images]), torch.cat([train.labels, added.labels])
    return replace(splits, train=LabelledImages(images, labels))
