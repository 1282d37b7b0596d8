"""Which images are attacked for training and for testing, the same for every victim."""

from collections.abc import Mapping

from torch import Tensor

from cam_adv.data.selection import Selection, select
from cam_adv.data.splits import ImageSplits
from cam_adv.schema.selection import TargetRule
from cam_adv.studies.adversarial_training.config import AdversarialTrainingConfig


def select_training_images(
    config: AdversarialTrainingConfig,
    splits: ImageSplits,
    eligible: Tensor,
    seed: int,
    target: TargetRule = "random",
    source: int | None = None,
) -> Selection:
    """Draw the training images that are attacked for training.

    Args:
        eligible: `(N,)` bool, training images that may be drawn.
        target, source: of the training attack; see `select`.

    Raises:
        UserError: fewer images are eligible than `study.images`.
    """
    labels, count = splits.train.labels, config.images
    return select(labels, eligible, splits.class_names, count, source, target, seed, "study.images")


def select_test_images(
    config: AdversarialTrainingConfig,
    splits: ImageSplits,
    eligible: Tensor,
    seed: int,
    targets: Mapping[str, TargetRule],
    source: int | None = None,
) -> dict[str, Selection]:
    """Draw the test images that the test attacks are run on: attack → selection.

    Attacks with the same target rule get the same images and targets.

    Args:
        eligible: `(T,)` bool, test images that may be drawn.
        targets: attack → its target rule; "next" for untargeted attacks.
        source: class of all drawn images, or None for all classes.

    Raises:
        UserError: fewer images are eligible than `study.test_images`.
    """
    labels, count = splits.test.labels, config.test_images
    return {
        name: select(labels, eligible, splits.class_names, count, source, target, seed, "study.test_images")
        for name, target in targets.items()
    }
