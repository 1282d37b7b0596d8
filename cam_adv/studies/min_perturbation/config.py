"""Settings of the study `min_perturbation`."""

from typing import Annotated

from pydantic import Field

from cam_adv.models.lp_balls import Norm
from cam_adv.schema.fields import Count, Integer, Number, Positive, Share, StrictModel


class DDNSearch(StrictModel):
    """See `cam_adv.attacks.ddn.ddn`."""

    steps: Count
    first_radius: Positive
    gamma: Share


class PGDSearch(StrictModel):
    """See `bisect_radius` and `cam_adv.attacks.pgd.pgd`.

    step_length: of a step, as a multiple of radius/steps. share: of the pixels that a step under L1 changes.
    """

    bisection_steps: Count
    steps: Count
    step_length: Positive
    share: Annotated[Number, Field(gt=0, le=1)]


class SearchConfig(StrictModel):
    """How adversarial images with a minimal perturbation are searched for."""

    ddn: DDNSearch
    pgd: PGDSearch
    border_bisection_steps: Count


class MinPerturbationConfig(StrictModel):
    """Settings of CLEVER, the lower estimate, and of the search for the upper bound.

    radii: norm → radius of the ball in which gradients are sampled.
    batches, samples, shape_penalty: see `cam_adv.studies.min_perturbation.clever.clever`.
    poor_below: the p-value below which a fit counts as poor.
    """

    images: Count
    radii: Annotated[dict[Norm, Positive], Field(min_length=1)]
    batches: Annotated[Integer, Field(ge=3)]
    samples: Count
    shape_penalty: Positive
    poor_below: Share
    search: SearchConfig
