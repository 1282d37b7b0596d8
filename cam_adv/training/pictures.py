"""What a generator paints, in TensorBoard."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cam_adv.networks.predictions import in_batches, unit
from cam_adv.networks.svae import SVAE

SHOWN = 64
SUFFIX = ".pictures"
"""Of the events file, which a training that is finished a second time writes anew."""


def write_generator_pictures(generator: SVAE, images: Tensor, folder: Path) -> None:
    """The first of some `images` `(N, C, H, W)`, their reconstructions and prior samples, as events in `folder`."""
    for left in folder.glob(f"*{SUFFIX}"):
        left.unlink()
    originals, device = unit(images[:SHOWN]), next(generator.parameters()).device
    pictures = {
        "x": originals,
        "reconstruction": in_batches(generator.reconstruct, originals, device),
        "prior_samples": in_batches(generator.generate, prior_codes(generator.latent_size), device),
    }
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for name, tensor in pictures.items():
            writer.add_image(f"pictures/{name}", tiles(tensor))


def prior_codes(latent_size: int) -> Tensor:
    """Draws from N(0, I), `(64, D)`: the same for every generator, so that their pictures can be compared."""
    return torch.randn(SHOWN, latent_size, generator=torch.Generator().manual_seed(0))


def tiles(images: Tensor, across: int = 8) -> Tensor:
    """Images `(N, C, H, W)` side by side as one, `(C, rows·H, across·W)`, empty places black."""
    count, channels, height, width = images.shape
    rows = -(-count // across)
    padded = torch.cat([images, images.new_zeros(rows * across - count, channels, height, width)])
    grid = padded.reshape(rows, across, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, across * width)
