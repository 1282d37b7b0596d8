"""A supervised VAE of residual blocks, which carries small colour photographs."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from cam_adv.models.blocks import PreActivationBlock, group_norm
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.generators.svae import dense


class ResidualSVAE(Generator):
    """Encoder, decoder G, latent classifier f2 and latent discriminator D, as in `SVAE`, of residual blocks.

    The encoder halves the image by strided convolutions as many times as there are `widths`, and the decoder doubles
    it as often by nearest neighbours, each with a residual block.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        latent_size: int,
        widths: Sequence[int],
    ) -> None:
        """
        Args:
            widths: channels at half, quarter, … of the image's side.
        """
        super().__init__()
        self.latent_size = latent_size
        self.image_size = tuple(image_size)
        self.reduction = 2 ** len(widths)
        coarsest = [-(-side // self.reduction) for side in image_size]
        flat = widths[-1] * coarsest[0] * coarsest[1]
        self.encoder = nn.Sequential(
            *[
                nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), PreActivationBlock(after))
                for before, after in pairwise((in_channels, *widths))
            ],
            group_norm(widths[-1]),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(flat, 2 * latent_size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, flat),
            nn.Unflatten(1, (widths[-1], *coarsest)),
            PreActivationBlock(widths[-1]),
            *[
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    nn.Conv2d(before, after, 3, padding=1),
                    PreActivationBlock(after),
                )
                for before, after in pairwise((*reversed(widths), widths[0]))
            ],
            group_norm(widths[0]),
            nn.SiLU(),
            nn.Conv2d(widths[0], in_channels, 3, padding=1),
            nn.Sigmoid(),
        )
        self.classifier = dense([latent_size, 256, 128, num_classes])
        self.discriminator = dense([latent_size, 256, 128, 64, 1])

    def encode(self, images: Tensor) -> Posterior:
        """See `Generator.encode`."""
        height, width = self.image_size
        missing = (0, -width % self.reduction, 0, -height % self.reduction)
        padded = functional.pad(images, missing, mode="replicate")
        mean, raw_std = self.encoder(padded).chunk(2, dim=1)
        return Posterior(mean, 1e-6 + functional.softplus(raw_std))

    def decode(self, codes: Tensor) -> Tensor:
        """See `Generator.decode`."""
        height, width = self.image_size
        images: Tensor = self.decoder(codes)
        return images[:, :, :height, :width]  # crop sides that are no multiple of the reduction
