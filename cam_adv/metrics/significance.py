"""Tests of paired differences, attack less control: for a difference, for equivalence, and Holm's correction.

The unit is the source image: rows of the same image, whatever their victim and target, are averaged first.
"""

import torch
from scipy.stats import ttest_1samp
from torch import Tensor

from cam_adv.metrics.bootstrap import check_no_nan

SIGNS_AT_ONCE = 4_000_000
"""Signs drawn at once, over all permutations: 32 MB."""


def sign_flip_test(differences: Tensor, image: Tensor, permutations: int, generator: torch.Generator) -> float:
    """Two-sided p-value of "the differences are symmetric about 0", by flipping the signs of whole images.

    All 2^I choices of signs are used if there are at most `permutations`, which is exact; otherwise that many are
    drawn, and the data count as one of them, so that p is valid and never 0 (Phipson and Smyth 2010).

    Args:
        differences: attack less control, one for each row, `(n,)`.
        image: number of the source image, any integers, `(n,)`.
        permutations: number of choices of signs to draw.
        generator: on the CPU.

    Raises:
        ValueError: a difference is NaN.
    """
    means = image_means(differences, image)
    count = len(means)
    observed = means.sum().abs() * (1 - 1e-12)  # a tie counts as reached, whatever the order of summation
    if 2**count <= permutations:
        choices = torch.arange(2**count).unsqueeze(1) >> torch.arange(count) & 1
        return ((1 - 2 * choices.double()) @ means).abs().ge(observed).double().mean().item()
    reached = 0
    for chunk in torch.arange(permutations).split(max(1, SIGNS_AT_ONCE // count)):
        signs = 1 - 2 * torch.randint(2, (len(chunk), count), generator=generator).double()
        reached += int(((signs @ means).abs() >= observed).sum())
    return (1 + reached) / (1 + permutations)


def equivalence_test(differences: Tensor, image: Tensor, margin: float) -> float:
    """p-value of "the mean difference is at least `margin` away from 0": small where it is practically 0.

    Two one-sided t-tests, of which the larger p counts (TOST, Schuirmann 1987). The result is about these victims;
    for victims in general, check that the 90% interval of `hierarchical_bootstrap` is within the margin.

    Args:
        differences: attack less control, one for each row, `(n,)`.
        image: number of the source image, any integers, `(n,)`.
        margin: the smallest difference of interest, in the unit of the differences.

    Raises:
        ValueError: the margin is not positive, a difference is NaN, or there are fewer than two images.
    """
    if not margin > 0:
        raise ValueError(f"nothing is equivalent within a margin of {margin}")
    means = image_means(differences, image).numpy()
    if len(means) < 2:
        raise ValueError("one image has no spread to test against")
    above = ttest_1samp(means, -margin, alternative="greater").pvalue
    below = ttest_1samp(means, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Tensor) -> Tensor:
    """p-values adjusted for multiple tests (Holm 1979): rejecting those below a level controls the family-wise error.

    Args:
        p_values: `(m,)` in [0, 1].

    Returns:
        `(m,)` in [0, 1], in the order given.
    """
    ordered, order = p_values.sort()
    factors = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    adjusted = (ordered * factors).cummax(dim=0).values.clamp_max(1)
    return torch.empty_like(p_values).scatter_(0, order, adjusted)


def image_means(values: Tensor, image: Tensor) -> Tensor:
    """Mean over the rows of each image, `(I,)`, by ascending number of the image.

    Raises:
        ValueError: a value is NaN.
    """
    check_no_nan(values)
    images, image = image.unique(return_inverse=True)
    total = torch.zeros(len(images), dtype=torch.float64).index_add_(0, image, values.double())
    return total / torch.bincount(image, minlength=len(images))
