"""Settings of the study `attack_comparison`, without its attacks."""

from typing import Annotated, Literal

from pydantic import Field

from cam_adv.schema.fields import Count, Integer, Share, StrictModel, UnitShare


class DetectorConfig(StrictModel):
    """Settings of feature squeezing, and the AUC from which a detector counts as detecting an attack."""

    bits: Annotated[Integer, Field(ge=1, le=8)]
    window: Literal[2, 3]
    min_auc: Share


class PerturbedPixelsConfig(StrictModel):
    """Shares of an image's pixels: those of the CAM's region, and those that are marked as the most perturbed."""

    region: Share
    marked: Share


class AttackComparisonConfig(StrictModel):
    """How many images of each class are attacked, and how the attacks are compared.

    prevalences: shares of Type I pictures among the negatives, at which the false positive rate is given.
    """

    images: Count
    target_fpr: Share
    prevalences: Annotated[list[UnitShare], Field(min_length=1)]
    n_resamples: Count
    level: Share
    detectors: DetectorConfig
    perturbed_pixels: PerturbedPixelsConfig
