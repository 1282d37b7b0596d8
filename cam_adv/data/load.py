"""A dataset from its settings."""

from hydra.utils import instantiate

from cam_adv.data.splits import ImageSplits, split
from cam_adv.settings import DatasetSettings


def load_dataset(settings: DatasetSettings) -> ImageSplits:
    """Read the images and divide them.

    Raises:
        UserError: the source can't be read, or a class is too small for the split.
    """
    pool, test, class_names = instantiate(settings.source)
    parts = settings.split
    return split(pool, test, class_names, parts.validation, parts.test, parts.seed)
