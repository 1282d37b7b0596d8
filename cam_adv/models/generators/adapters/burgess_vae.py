"""The VAE of Burgess et al. 2018 (arXiv 1804.03599), with the weights of Dubois et al.'s disentangling-vae."""

from torch import Tensor, nn
from torch.nn import functional

from cam_adv.errors import UserError
from cam_adv.models.generators.base import Posterior
from cam_adv.models.generators.code_decoder import DECODER
from cam_adv.models.weights import load_weights

LATENTS = 10
CHANNELS = 32
HIDDEN = 256
COARSEST = 4
"""Side of the smallest feature map."""


class BurgessVAE(nn.Module):
    """A `CodeDecoder` that encodes. It works on 32×32 or, for larger images, on 64×64 pixels, to which images are
    resized, and from which what it draws is resized.

    Its layers have the names of those in the files of weights.
    """

    def __init__(self, in_channels: int, image_size: tuple[int, int], weights: str) -> None:
        """`weights`: a file with its state dict, of 32×32 or of 64×64 pixels.

        Raises:
            UserError: the images are larger, or the file can't be read, or holds weights of other sizes.
        """
        super().__init__()
        self.code_shape = (LATENTS,)
        self.image_size = tuple(image_size)
        self.side = 32 if max(image_size) <= 32 else 64
        if max(image_size) > self.side:
            raise UserError(
                f"BurgessVAE draws 64×64 pixels, but the images have {image_size[0]}×{image_size[1]}.",
                "Set dataset.size=64 where the dataset has this key.",
            )
        self.encoder = _Encoder(in_channels, self.side)
        self.decoder = _Decoder(in_channels, self.side)
        load_weights(self, weights, f"BurgessVAE for {in_channels}×{self.side}×{self.side}", f"{DECODER}.weights")

    def encode(self, x: Tensor) -> Posterior:
        """See `CodeDecoder`."""
        mean, log_variance = self.encoder(_resized(x, (self.side, self.side))).unflatten(1, (LATENTS, 2)).unbind(2)
        return Posterior(mean, (0.5 * log_variance).exp())

    def decode(self, z: Tensor) -> Tensor:
        """See `CodeDecoder.decode`."""
        return _resized(self.decoder(z), self.image_size)


class _Encoder(nn.Module):
    def __init__(self, in_channels: int, side: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, CHANNELS, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 4, stride=2, padding=1)
        self.conv3 = nn.Conv2d(CHANNELS, CHANNELS, 4, stride=2, padding=1)
        self.conv_64 = nn.Conv2d(CHANNELS, CHANNELS, 4, stride=2, padding=1) if side == 64 else None
        self.lin1 = nn.Linear(CHANNELS * COARSEST**2, HIDDEN)
        self.lin2 = nn.Linear(HIDDEN, HIDDEN)
        self.mu_logvar_gen = nn.Linear(HIDDEN, 2 * LATENTS)

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv_64):
            features = features if convolution is None else convolution(features).relu()
        features = self.lin2(self.lin1(features.flatten(1)).relu()).relu()
        numbers: Tensor = self.mu_logvar_gen(features)
        return numbers


class _Decoder(nn.Module):
    def __init__(self, in_channels: int, side: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(LATENTS, HIDDEN)
        self.lin2 = nn.Linear(HIDDEN, HIDDEN)
        self.lin3 = nn.Linear(HIDDEN, CHANNELS * COARSEST**2)
        self.convT_64 = nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, stride=2, padding=1) if side == 64 else None
        self.convT1 = nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, stride=2, padding=1)
        self.convT2 = nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, stride=2, padding=1)
        self.convT3 = nn.ConvTranspose2d(CHANNELS, in_channels, 4, stride=2, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        features = self.lin3(self.lin2(self.lin1(codes).relu()).relu()).relu()
        features = features.unflatten(1, (CHANNELS, COARSEST, COARSEST))
        for convolution in (self.convT_64, self.convT1, self.convT2):
            features = features if convolution is None else convolution(features).relu()
        images: Tensor = self.convT3(features).sigmoid()
        return images


def _resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    # Measured on MNIST with its 32×32 weights: a root mean square error of 0.11, and of 0.14 with padding.
    if images.shape[2:] == size:
        return images
    return functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
