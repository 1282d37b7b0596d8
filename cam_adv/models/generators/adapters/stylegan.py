"""StyleGAN2 and 3 (Karras et al. 2020, arXiv 1912.04958; 2021, arXiv 2106.12423), as NVIDIA's code builds them."""

import inspect
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.errors import UserError
from cam_adv.models.generators.code_decoder import DECODER

OPTIONS = {"noise_mode": "const", "force_fp32": True}
"""Of the synthesis, where it takes them: without, it draws other noise each time, and upper layers in float16."""


class StyleGAN(nn.Module):
    """A `CodeDecoder` whose code is w: one style `(W,)`, which all layers of the synthesis network share.

    The prior is what the mapping network makes of normal draws and, for a class-conditional one, of random classes.
    """

    pixel_range = (-1.0, 1.0)

    def __init__(self, network: Any) -> None:
        """`network`: G, with `mapping(z, c)`, `synthesis(ws)`, `z_dim`, `c_dim`, `w_dim` and `num_ws`."""
        super().__init__()
        self.network = network
        self.code_shape = (int(self.network.w_dim),)
        parameters = inspect.signature(self.network.synthesis.forward).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        self.options = {key: value for key, value in OPTIONS.items() if takes_any or key in parameters}

    def decode(self, z: Tensor) -> Tensor:
        """See `CodeDecoder.decode`."""
        images: Tensor = self.network.synthesis(z.unsqueeze(1).expand(-1, self.network.num_ws, -1), **self.options)
        return images

    @torch.no_grad()
    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Styles of normal draws and random classes, `(count, W)`."""
        device = next(self.parameters()).device
        z = torch.randn(count, self.network.z_dim, generator=generator).to(device)
        c = None
        if self.network.c_dim:
            labels = torch.randint(self.network.c_dim, (count,), generator=generator)
            c = functional.one_hot(labels, self.network.c_dim).to(z)
        w: Tensor = self.network.mapping(z, c)
        return w[:, 0] if w.ndim == 3 else w  # the mapping repeats w for every layer


def from_pickle(file: str) -> nn.Module:
    """G_ema of a file that NVIDIA's code has pickled. Unpickling runs whatever the file says: read only trusted ones.

    Raises:
        UserError: the file can't be read, needs code that can't be imported, or has no G_ema.
    """
    try:
        with Path(file).expanduser().open("rb") as opened:
            network = pickle.load(opened)["G_ema"]
    except ModuleNotFoundError as error:
        raise UserError(
            f"{DECODER}.network.file={file} needs the module {error.name}, which can't be imported.",
            "Start cam-adv with the code of StyleGAN on the path, as PYTHONPATH=stylegan3 cam-adv ….",
        ) from error
    except Exception as error:  # damaged or foreign bytes raise many kinds of errors
        raise UserError(
            f"{DECODER}.network.file={file} can't be read: {type(error).__name__}: {error}.",
            "Give a file such as network-snapshot.pkl, which has G_ema.",
        ) from error
    assert isinstance(network, nn.Module)
    return network
