"""The estimated lower bound of the smallest perturbation, and the upper bound that was found."""

import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cam_adv.metrics.intervals import Rate, wilson
from cam_adv.models.lp_balls import Norm
from cam_adv.studies.min_perturbation.clever import CleverEstimate
from cam_adv.studies.min_perturbation.search import MinimalPerturbation


@dataclass(frozen=True)
class PerturbationBounds:
    """The smallest perturbation of each of N images under a norm is between the two, as far as CLEVER is correct.

    radius: of the ball in which CLEVER samples gradients, the largest bound that it returns.
    poor_below: the p-value below which a fit counts as poor.
    """

    norm: Norm
    radius: float
    poor_below: float
    estimate: CleverEstimate
    found: MinimalPerturbation

    @property
    def exceeds(self) -> Tensor:
        """Where the estimate exceeds the perturbation that was found, and so is wrong, `(N,)` bool."""
        return self.estimate.untargeted > self.found.distance

    @property
    def p_value(self) -> Tensor:
        """Of the fit for the nearest class, which the untargeted bound depends on, `(N,)`."""
        return self.estimate.p_value.gather(1, self.estimate.nearest_class[:, None]).squeeze(1)

    @property
    def poor_fit(self) -> Tensor:
        """Where that fit is poor, `(N,)` bool."""
        return self.p_value < self.poor_below

    @property
    def at_radius(self) -> Tensor:
        """Where the bound is limited by the ball's radius, `(N,)` bool."""
        return self.estimate.untargeted >= self.radius

    def rates(self) -> dict[str, Rate]:
        """How often the estimate exceeds, has a poor fit, or is limited by the radius, with Wilson 95% intervals."""
        return {
            name: wilson(int(values.sum()), len(values))
            for name, values in (
                ("exceeds", self.exceeds),
                ("poor_fit", self.poor_fit),
                ("at_radius", self.at_radius),
            )
        }

    def summary(self) -> dict[str, Any]:
        """The content of `min_perturbation.json` for this norm.

        Medians are over all images, and null where for most images nothing was found.
        """
        distance = statistics.median(self.found.distance.tolist())
        ratio = statistics.median((self.found.distance / self.estimate.untargeted).tolist())
        found = torch.isfinite(self.found.distance)
        return {
            "images": len(found),
            "radius": self.radius,
            "median_clever": statistics.median(self.estimate.untargeted.tolist()),
            "median_found": _finite(distance),
            "median_ratio": _finite(ratio),
            "not_found": int((~found).sum()),
            "found_by": dict(Counter(name for name in self.found.attack if name).most_common()),
            **{name: asdict(rate) for name, rate in self.rates().items()},
        }


def _finite(value: float) -> float | None:
    """The value, or None for infinity, which JSON cannot represent."""
    return value if value < float("inf") else None
