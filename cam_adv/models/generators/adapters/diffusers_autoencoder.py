"""The autoencoders of latent diffusion models, as the package diffusers has them."""

from typing import Any

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.generators.code_decoder import DECODER


class DiffusersAutoencoder(nn.Module):
    """A `CodeDecoder` of an `AutoencoderKL` (Rombach et al. 2022, arXiv 2112.10752) or an `AutoencoderTiny`.

    Its codes are the posterior means, without the scaling factor that a diffusion model applies to them.
    """

    pixel_range = (-1.0, 1.0)

    def __init__(self, path: str | nn.Module, image_size: tuple[int, int]) -> None:
        """
        Args:
            path: a folder that `save_pretrained` wrote, or the name of a model on the Hugging Face Hub, which is then
                downloaded; or the model itself.
            image_size: height and width, which determine the shape of a code.

        Raises:
            UserError: diffusers isn't installed, or finds no model there.
        """
        super().__init__()
        self.model: Any = path if isinstance(path, nn.Module) else _load(path)
        with torch.no_grad():
            self.code_shape = tuple(self.encode(torch.zeros(1, 3, *image_size)).shape[1:])

    def encode(self, x: Tensor) -> Tensor:
        """See `CodeDecoder`."""
        encoded = self.model.encode(x)
        codes: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
        return codes

    def decode(self, z: Tensor) -> Tensor:
        """See `CodeDecoder.decode`."""
        images: Tensor = self.model.decode(z).sample
        return images


def _load(path: str) -> nn.Module:
    try:
        from diffusers import AutoModel
    except ImportError as error:
        raise UserError(
            "model/generator=diffusers needs the package diffusers, which isn't installed.",
            "Install it with pip install 'cam-adv[diffusers]'.",
        ) from error
    try:
        model: nn.Module = AutoModel.from_pretrained(path)
    except Exception as error:  # missing files, no network and foreign formats raise many kinds of errors
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{DECODER}.path={path} can't be loaded: {first_line.rstrip('.')}.",
            "Give a folder with config.json and safetensors, or the name of a model on the Hub and a connection.",
        ) from error
    return model
