"""Any network that is called with codes and returns images."""

from collections.abc import Sequence

from torch import Tensor, nn

from cam_adv.models.generators.code_decoder import DECODER
from cam_adv.models.weights import load_weights


class ImageModule(nn.Module):
    """A `CodeDecoder` of a module z → image, such as the generator of a GAN."""

    def __init__(
        self,
        module: nn.Module,
        code_shape: Sequence[int] | int,
        pixel_range: Sequence[float],
        weights: str | None = None,
    ) -> None:
        """
        Args:
            module: codes `(N, *code_shape)` to images `(N, C, H, W)`.
            code_shape: of one code; a number n is (n,).
            pixel_range: black and white in its images.
            weights: a file with its state dict; None: it has its weights.

        Raises:
            UserError: the file can't be read, or holds other weights.
        """
        super().__init__()
        self.module = module
        self.code_shape = code_shape if isinstance(code_shape, int) else tuple(code_shape)
        self.pixel_range = tuple(pixel_range)
        if weights is not None:
            load_weights(module, weights, type(module).__name__, f"{DECODER}.weights")

    def decode(self, z: Tensor) -> Tensor:
        """See `CodeDecoder.decode`."""
        images: Tensor = self.module(z)
        return images


class ClassConditionalImageModule(ImageModule):
    """A `CodeDecoder` of a module (z, y) → image, with int64 labels y `(N,)`."""

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """See `CodeDecoder.decode`."""
        images: Tensor = self.module(z, y)
        return images
