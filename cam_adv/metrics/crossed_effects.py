"""The mean of a table of victims × images that are both drawn at random: its interval, and a test.

Five victims are too few for a bootstrap over victims. This is the analysis of studies in which several readers read
the same cases (Dorfman, Berbaum and Metz 1992; Hillis 2007, Statistics in Medicine 26:596): the variance of the mean
comes from the mean squares of victims, of images and of what is left, its degrees of freedom from those of victims.

Two images are added whose values are ±√½ for every victim, as Agresti and Min (2005, Statistics in Medicine 24:729)
add half an image to each cell of paired outcomes. They keep the mean, and give a width to a table whose values are
all equal.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from cam_adv.metrics.intervals import Interval


@dataclass(frozen=True)
class CrossedMean:
    """mean: of the table. centre, error, df: of the interval, its standard error and degrees of freedom."""

    mean: float
    centre: float
    error: float
    df: float

    def interval(self, level: float) -> Interval:
        """Of the mean, for victims and images in general."""
        half = self.error * float(student.ppf((1 + level) / 2, self.df))
        return Interval(self.mean, max(-1.0, self.centre - half), min(1.0, self.centre + half))

    def p_value(self, hypothesis: float) -> float:
        """Two-sided, of this mean."""
        return 2 * float(student.sf(abs(self.centre - hypothesis) / self.error, self.df))


def crossed_mean(values: Tensor) -> CrossedMean:
    """Of differences of paired outcomes in [-1, 1].

    With one victim the images alone are random, and the result is about that victim.

    Args:
        values: `(V, I)`, of every victim on every image.
    """
    added = math.sqrt(0.5) * torch.tensor([1.0, -1.0], dtype=torch.float64).expand(len(values), 2)
    table = torch.cat([values.double(), added], dim=1)
    victims, images = table.shape
    centre = table.mean()
    of_victims, of_images = table.mean(dim=1), table.mean(dim=0)
    by_image = victims * (of_images - centre).square().sum() / (images - 1)
    by_victim = left = torch.zeros((), dtype=torch.float64)
    if victims > 1:
        rest = table - of_victims.unsqueeze(1) - of_images + centre
        left = rest.square().sum() / ((victims - 1) * (images - 1))
        by_victim = images * (of_victims - centre).square().sum() / (victims - 1)
        # Outcomes are whole numbers, whose means may be equal by chance: at least what one changed outcome gives.
        by_victim = by_victim.clamp_min(1 / (victims * images))
    spread = by_victim + (by_image - left).clamp_min(0)
    of_victims_alone = (by_victim**2 / max(1, victims - 1)).item()
    df = min(images - 1, spread.item() ** 2 / of_victims_alone if of_victims_alone else math.inf)
    error = (spread / (victims * images)).sqrt().item()
    return CrossedMean(values.double().mean().item(), centre.item(), error, df)
