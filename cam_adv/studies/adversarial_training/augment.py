"""Adversarial images as training images, with the label that a person is meant to see."""

from dataclasses import replace

import torch

from cam_adv.attacks.result import AttackResult
from cam_adv.data.splits import ImageSplits, LabelledImages


def adversarial_to_dataset(result: AttackResult) -> LabelledImages:
    """Every image of a Type I attack, failures included, in 8 bits and labelled y'.

    The label is the intended one. It is not checked whether the attack reached it: a judge that took part in the
    training could not evaluate its outcome.
    """
    return LabelledImages((result.x_adv * 255).round().byte(), result.target)


def augment_split(splits: ImageSplits, adversarial: LabelledImages, share: float) -> ImageSplits:
    """The same splits, with adversarial images added to the training images, repeated until they reach their share.

    Args:
        share: of the new training images that are adversarial, in (0, 1).
    """
    train = splits.train
    count = round(share / (1 - share) * len(train))
    added = adversarial[torch.arange(count) % len(adversarial)]
    images, labels = torch.cat([train.images, added.images]), torch.cat([train.labels, added.labels])
    return replace(splits, train=LabelledImages(images, labels))
