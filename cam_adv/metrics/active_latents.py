"""Latents of a generator that depend on the image; without any, its posterior has collapsed."""

import torch
from torch import Tensor

from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

ACTIVE_SHARE = 0.01
"""Share of a latent's variance that its posterior mean over images has from which it is active; of a standard normal
prior, whose variance is 1, that is the bound of Burda et al. 2016 (arXiv 1509.00519)."""


def count_active_latents(generator: Generator, images: Tensor, device: torch.device) -> int:
    """The number of latents that depend on the image.

    Args:
        images: `(N, C, H, W)`, uint8 in [0, 255] or float in [0, 1].
    """

    def mean_and_variance(part: Tensor) -> Tensor:
        posterior = generator.encode(part)
        return torch.cat([posterior.mean, posterior.std.square()], dim=1)

    means, variances = batched_apply(mean_and_variance, images, device).chunk(2, dim=1)
    of_the_mean = means.var(dim=0)
    return int((of_the_mean > ACTIVE_SHARE * (of_the_mean + variances.mean(dim=0))).sum())


def collapse_warning(active: int, latents: int) -> str:
    """What to say of a generator of which too few latents are active."""
    return (
        f"{active} of the generator's {latents} latents depend on the image: its posterior has collapsed, and an "
        "attack on codes cannot change the picture. Lower model.generator.training.kl_weight where "
        "model.generator.training has it, or give another generator (model/generator)."
    )
