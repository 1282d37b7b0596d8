"""`conf/bound/`: the least perturbation, from below and from above."""

from typing import Annotated, Literal

from pydantic import Field

from cam_adv.settings.section import Count, Integer, Number, Positive, Section, Share

Norm = Literal["l1", "l2", "linf"]


class DDNSearch(Section):
    """See `cam_adv.bound.ddn`."""

    steps: Count
    first_radius: Positive
    gamma: Share


class PGDSearch(Section):
    """See `cam_adv.bound.bisection`; `share` is of the pixels that a step under L1 moves."""

    halvings: Count
    steps: Count
    step_length: Positive
    share: Annotated[Number, Field(gt=0, le=1)]


class SearchSettings(Section):
    """How the nearest image of another answer is looked for."""

    ddn: DDNSearch
    pgd: PGDSearch
    border_halvings: Count


class BoundSettings(Section):
    """What stage "bound" estimates from below, and how hard it looks from above."""

    images: Count
    radii: Annotated[dict[Norm, Positive], Field(min_length=1)]
    batches: Annotated[Integer, Field(ge=3)]
    samples: Count
    shape_penalty: Positive
    poor_below: Share
    search: SearchSettings
