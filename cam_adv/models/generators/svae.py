"""The supervised variational autoencoder and the latent discriminator (Tang et al. 2019, arXiv 1809.00594)."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from cam_adv.models.generators.base import BernoulliGenerator, Posterior


def bernoulli_nats(logits: Tensor, images: Tensor) -> Tensor:
    """−log p(x|z) of each image in nats, `(N,)`: binary cross-entropy against gray pixels, summed over pixels.

    Args:
        logits: of the pixel probabilities, `(N, C, H, W)`.
        images: `(N, C, H, W)` in [0, 1].
    """
    return functional.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=(1, 2, 3))


class Encoder(nn.Module):
    """Images `(N, C, H, W)` in [0, 1] to the posterior over `D` latents."""

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], latent_size: int, width: int, hidden: int
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(2 * width * (image_size[0] // 4) * (image_size[1] // 4), hidden),
            nn.ELU(),
            nn.Linear(hidden, 2 * latent_size),
        )

    def forward(self, images: Tensor) -> Posterior:
        mean, raw_std = self.body(images).chunk(2, dim=1)
        return Posterior(mean, 1e-6 + functional.softplus(raw_std))


class Decoder(nn.Module):
    """Codes `(N, D)` to logits of the pixel probabilities `(N, C, H, W)`.

    The convolutions run at a quarter and at half of the image's side, where they are cheap. The last one computes
    each 2×2 block of pixels (sub-pixel convolution), which gives sharper strokes than upsampling.
    """

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], latent_size: int, width: int, hidden: int
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        quarter = (-(-image_size[0] // 4), -(-image_size[1] // 4))
        self.body = nn.Sequential(
            nn.Linear(latent_size, hidden),
            nn.ELU(),
            nn.Linear(hidden, 2 * width * quarter[0] * quarter[1]),
            nn.ELU(),
            nn.Unflatten(1, (2 * width, *quarter)),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.ELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(width, 4 * in_channels, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, codes: Tensor) -> Tensor:
        height, width = self.image_size
        return self.body(codes)[:, :, :height, :width]  # crop sides that are no multiple of 4


def dense(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with ELU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ELU()]
    return nn.Sequential(*layers[:-1])


class SVAE(BernoulliGenerator):
    """Encoder, decoder G, latent classifier f2 and latent discriminator D.

    f2 maps codes to class logits (256-128-K), D maps codes to the logit of "drawn from the prior" (256-128-64-1),
    both with ELU as published.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        latent_size: int,
        width: int,
        hidden: int,
    ) -> None:
        """
        Args:
            width: convolution channels at half the image's side.
            hidden: units of the dense layers.
        """
        super().__init__()
        self.latent_size = latent_size
        self.encoder = Encoder(in_channels, image_size, latent_size, width, hidden)
        self.decoder = Decoder(in_channels, image_size, latent_size, width, hidden)
        self.classifier = dense([latent_size, 256, 128, num_classes])
        self.discriminator = dense([latent_size, 256, 128, 64, 1])

    def encode(self, images: Tensor) -> Posterior:
        """See `Generator.encode`."""
        posterior: Posterior = self.encoder(images)
        return posterior

    def pixel_logits(self, codes: Tensor) -> Tensor:
        """See `BernoulliGenerator.pixel_logits`."""
        logits: Tensor = self.decoder(codes)
        return logits
