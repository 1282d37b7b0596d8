"""Which images are attacked to train with, and which to test with, the same for every victim."""

from torch import Tensor

from cam_adv.attack.selection import Selection, select
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.settings import AnyAttack, LatentAttackSettings, Settings


def to_train_with(settings: Settings, splits: ImageSplits, eligible: Tensor) -> Selection:
    """The `eligible` `(N,)` training images that the training attack makes pictures of.

    Raises:
        UserError: they are fewer than asked for.
    """
    plan = settings.defence
    return _chosen(settings, plan.train, splits.train, splits.num_classes, eligible, plan.images, "defence.images")


def to_test_with(settings: Settings, splits: ImageSplits, eligible: Tensor) -> dict[str, Selection]:
    """By test attack the `eligible` `(T,)` test images that it is tried on.

    Raises:
        UserError: they are fewer than asked for.
    """
    plan, test = settings.defence, splits.test
    count, key = plan.test_images, "defence.test_images"
    return {
        name: _chosen(settings, attack, test, splits.num_classes, eligible, count, key)
        for name, attack in plan.attacks.items()
    }


def _chosen(
    settings: Settings,
    attack: AnyAttack,
    data: LabelledImages,
    num_classes: int,
    eligible: Tensor,
    count: int,
    key: str,
) -> Selection:
    """By the seed and the attack's own source and target: attacks that say the same of them get the same images."""
    target = attack.target if isinstance(attack, LatentAttackSettings) else "next"  # any class will do
    return select(data.labels, eligible, num_classes, count, attack.source, target, settings.seed, key)
