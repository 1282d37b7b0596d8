"""Tests of paired differences, attack less control: is there one, does it matter, and how many were asked?

The unit is the source image: rows of one image, whatever their victim and target, are averaged first.
"""

import torch
from scipy.stats import ttest_1samp
from torch import Tensor

SIGNS_AT_ONCE = 4_000_000
"""Signs drawn at once, over all permutations: 32 MB."""


def sign_flip_test(differences: Tensor, image: Tensor, permutations: int, generator: torch.Generator) -> float:
    """Two-sided p-value of "the differences are symmetric about 0" by flipping the sign of whole images.

    All 2^I choices of signs are tried where they are no more than `permutations`, which is exact; else that many are
    drawn, and the data count as one of them, so that p is valid and never 0 (Phipson and Smyth 2010).

    Args:
        differences: attack less control, one for each row, `(n,)`.
        image: which source image, any integers, `(n,)`.
        permutations: choices of signs to draw.
        generator: on the CPU.

    Raises:
        ValueError: a difference is NaN.
    """
    means = image_means(differences, image)
    count = len(means)
    observed = means.sum().abs() * (1 - 1e-12)  # a tie counts as reached, whatever the order of summing
    if 2**count <= permutations:
        choices = torch.arange(2**count).unsqueeze(1) >> torch.arange(count) & 1
        return ((1 - 2 * choices.double()) @ means).abs().ge(observed).double().mean().item()
    reached = 0
    for part in torch.arange(permutations).split(max(1, SIGNS_AT_ONCE // count)):
        signs = 1 - 2 * torch.randint(2, (len(part), count), generator=generator).double()
        reached += int(((signs @ means).abs() >= observed).sum())
    return (1 + reached) / (1 + permutations)


def equivalence_test(differences: Tensor, image: Tensor, margin: float) -> float:
    """p-value of "the mean difference is at least `margin` from 0": small where it is as good as none.

    Two one-sided t-tests, the larger p of both (TOST, Schuirmann 1987). It speaks of these victims; for victims in
    general see whether the 90% interval of `hierarchical_bootstrap` lies within the margin.

    Args:
        differences: attack less control, one for each row, `(n,)`.
        image: which source image, any integers, `(n,)`.
        margin: the smallest difference that would matter, in the unit of the differences.

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
    """p-values corrected for their number (Holm 1979): those below a level hold together at that level.

    Args:
        p_values: `(m,)` in [0, 1].

    Returns:
        `(m,)` in [0, 1], in the order given.
    """
    ordered, order = p_values.sort()
    factors = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    corrected = (ordered * factors).cummax(dim=0).values.clamp_max(1)
    return torch.empty_like(p_values).scatter_(0, order, corrected)


def image_means(values: Tensor, image: Tensor) -> Tensor:
    """Mean over the rows of each image, `(I,)`, by ascending number of the image.

    Raises:
        ValueError: a value is NaN.
    """
    if values.isnan().any():
        raise ValueError(f"{int(values.isnan().sum())} values are NaN: leave those rows out, and say how many")
    images, image = image.unique(return_inverse=True)
    total = torch.zeros(len(images), dtype=torch.float64).index_add_(0, image, values.double())
    return total / torch.bincount(image, minlength=len(images))
