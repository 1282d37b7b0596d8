"""Reconstructions and prior samples of a generator, in TensorBoard."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from cam_adv.data.pixels import to_unit_range
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

SHOWN = 64
"""Images in a grid."""

SUFFIX = ".pictures"
"""Suffix of the events file, which is replaced when a training is finished a second time."""


def write_generator_images(generator: Generator, images: Tensor, folder: Path) -> None:
    """Write the first `images`, `(N, C, H, W)` in 0 to 255, their reconstructions and prior samples as events.

    Args:
        folder: of the generator's training.
    """
    for stale in folder.glob(f"*{SUFFIX}"):
        stale.unlink()
    originals, device = to_unit_range(images[:SHOWN]), next(generator.parameters()).device
    grids = {
        "x": originals,
        "reconstruction": batched_apply(generator.reconstruct, originals, device),
        "prior_samples": batched_apply(generator.decode, prior_codes(generator), device),
    }
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for name, tensor in grids.items():
            writer.add_image(f"views/{name}", make_grid(tensor, padding=0))


def prior_codes(generator: Generator) -> Tensor:
    """Samples of the prior, `(64, D)`, the same at each call.

    They are also the same for all generators of the same D whose prior is N(0, I), which can thus be compared; a
    decoder's own prior and random classes give others.
    """
    return generator.sample_prior(SHOWN, torch.Generator().manual_seed(0))
