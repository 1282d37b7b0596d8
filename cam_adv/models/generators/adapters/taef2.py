"""TAEF2, a tiny autoencoder of natural colour images (O. Boer Bohan, the TAESD family)."""

from torch import Tensor, nn
from torch.nn import functional

from cam_adv.errors import UserError
from cam_adv.models.generators.code_decoder import DECODER
from cam_adv.models.weights import load_weights

LATENTS = 32
CHANNELS = 64
POOLED = 256
GROUPS = 4
REDUCTION = 8
"""How many times a latent map is smaller than the image, along each side."""


class TAEF2(nn.Module):
    """A `CodeDecoder` that encodes: images `(N, 3, H, W)` to latent maps `(N, 32, H/8, W/8)`.

    Its layers have the numbers of those in the files of weights.
    """

    def __init__(
        self, image_size: tuple[int, int], encoder_weights: str, decoder_weights: str, upscale: int = 1
    ) -> None:
        """
        Args:
            image_size: height and width of the images.
            encoder_weights, decoder_weights: files with the state dicts of both parts.
            upscale: images are enlarged so many times before they are encoded, and what is decoded is reduced again.
                With 2, small images are reconstructed better, from latent maps of four times as many numbers.

        Raises:
            UserError: the sides, enlarged, are no multiples of 8; a file can't be read, or holds other weights.
        """
        super().__init__()
        if any(side * upscale % REDUCTION for side in image_size):
            raise UserError(
                f"{DECODER}.upscale={upscale} makes images of {image_size[0]}×{image_size[1]} pixels "
                f"{image_size[0] * upscale}×{image_size[1] * upscale}, but TAEF2 needs multiples of {REDUCTION}.",
                f"Set dataset.size to a multiple of {REDUCTION} where the dataset has this key, such as 32.",
            )
        self.upscale = upscale
        self.code_shape = (LATENTS, *(side * upscale // REDUCTION for side in image_size))
        self.encoder, self.decoder = _encoder(), _decoder()
        load_weights(self.encoder, encoder_weights, "TAEF2's encoder", f"{DECODER}.encoder_weights")
        load_weights(self.decoder, decoder_weights, "TAEF2's decoder", f"{DECODER}.decoder_weights")

    def encode(self, x: Tensor) -> Tensor:
        """See `CodeDecoder`."""
        if self.upscale > 1:
            x = functional.interpolate(x, scale_factor=self.upscale, mode="bilinear", align_corners=False)
        codes: Tensor = self.encoder(x)
        return codes

    def decode(self, z: Tensor) -> Tensor:
        """See `CodeDecoder.decode`."""
        images: Tensor = self.decoder(z)
        return functional.avg_pool2d(images, self.upscale) if self.upscale > 1 else images


class _Block(nn.Module):
    """Three convolutions beside the identity; a middle block adds pooled features first."""

    def __init__(self, middle: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())
        self.pool = _pool() if middle else None

    def forward(self, features: Tensor) -> Tensor:
        if self.pool is not None:
            features = features + self.pool(features)
        return (self.conv(features) + features).relu()


class _SoftClamp(nn.Module):
    """3·tanh(z/3), which bounds a latent."""

    def forward(self, codes: Tensor) -> Tensor:
        return 3 * (codes / 3).tanh()


def _conv(inputs: int = CHANNELS, outputs: int = CHANNELS, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


def _pool() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(CHANNELS, POOLED, 1, bias=False),
        nn.GroupNorm(GROUPS, POOLED),
        nn.ReLU(),
        nn.Conv2d(POOLED, CHANNELS, 1, bias=False),
    )


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = [_conv(3), _Block()]
    for middle in (False, False, True):
        layers += [_conv(stride=2, bias=False), *(_Block(middle) for _ in range(3))]
    return nn.Sequential(*layers, _conv(outputs=LATENTS))


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [_SoftClamp(), _conv(LATENTS), nn.ReLU()]
    for middle in (True, False, False):
        layers += [*(_Block(middle) for _ in range(3)), nn.Upsample(scale_factor=2), _conv(bias=False)]
    return nn.Sequential(*layers, _Block(), _conv(outputs=3))
