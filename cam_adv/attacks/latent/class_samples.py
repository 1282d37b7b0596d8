"""Pictures of given classes that a generator draws by itself: what an attack without an x starts from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

ATTEMPTS = 100
"""How often a code is drawn for each picture, until f2 reads the class in it."""


def sample_classes(
    generator: Generator, density: LatentDensity, labels: Tensor, class_names: Sequence[str], seed: int
) -> LabelledImages:
    """For each label a picture G(z), with z drawn from the Gaussian of the label's codes, that f2 reads as the label.

    Song et al. 2018 (arXiv 1805.07894) start from samples of a class-conditional generator; codes drawn from the
    Gaussian of a class serve a generator that has no class among its inputs, too.

    Args:
        generator: in evaluation mode; f2(mu(G(z))) reads its pictures.
        density: of its codes, on its device.
        labels: `(N,)` in [0, K).
        class_names: for the message.
        seed: of the draws.

    Returns:
        N pictures with 8 bits a pixel, as the images of a dataset have.

    Raises:
        UserError: f2 reads a label in none of `ATTEMPTS` pictures.
    """
    device, draws = density.means.device, torch.Generator().manual_seed(seed)
    images: Tensor | None = None
    missing = torch.arange(len(labels))
    for _ in range(ATTEMPTS):
        # For every row, so that what a row gets doesn't depend on which others are missing.
        codes = generator.with_class(density.sample(labels, draws), labels.to(device))[missing]
        drawn = (255 * batched_apply(generator.decode, codes, device)).round().byte()
        images = drawn if images is None else images.index_copy(0, missing, drawn)
        reads = batched_apply(generator.classify, drawn, device).argmax(dim=1)
        missing = missing[reads != labels[missing]]
        if not len(missing):
            return LabelledImages(images, labels)
    name = class_names[int(labels[missing[0]])]
    raise UserError(
        f"f2 reads class {name} in none of {ATTEMPTS} pictures that the generator draws from codes of this class.",
        "Train it longer (model.generator.training), or choose a selection.target and "
        "dataset.example_pairs without this class.",
    )
