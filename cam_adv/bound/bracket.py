"""An estimate from below beside what was found from above."""

import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cam_adv.bound.clever import Clever
from cam_adv.bound.least import Least
from cam_adv.evaluation.intervals import Rate, wilson
from cam_adv.settings import Norm


@dataclass(frozen=True)
class Bracket:
    """The least perturbation of each of N images under a norm lies between the two, as far as CLEVER is right.

    radius: of the ball in which CLEVER looked, the largest bound that it gives.
    poor_below: the p of a fit below which it counts as poor.
    """

    norm: Norm
    radius: float
    poor_below: float
    estimate: Clever
    found: Least

    @property
    def exceeds(self) -> Tensor:
        """Where the estimate is larger than what was found, and so is wrong, `(N,)` bool."""
        return self.estimate.untargeted > self.found.distance

    @property
    def p(self) -> Tensor:
        """Of the fit that decides, that of the nearest class, `(N,)`."""
        return self.estimate.p.gather(1, self.estimate.nearest[:, None]).squeeze(1)

    @property
    def poor(self) -> Tensor:
        """Where that fit is poor, `(N,)` bool."""
        return self.p < self.poor_below

    @property
    def at_radius(self) -> Tensor:
        """Where the ball's radius is what limits the bound, `(N,)` bool."""
        return self.estimate.untargeted >= self.radius

    def rates(self) -> dict[str, Rate]:
        """How often the estimate exceeds, is poorly founded, or ends at the radius, with Wilson 95% intervals."""
        return {
            name: wilson(int(answer.sum()), len(answer))
            for name, answer in (("exceeds", self.exceeds), ("poor_fit", self.poor), ("at_radius", self.at_radius))
        }

    def summary(self) -> dict[str, Any]:
        """What `bound.json` holds of this norm. Medians are over all images; null where most have nothing found."""
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
    """JSON has no infinity."""
    return value if value < float("inf") else None
