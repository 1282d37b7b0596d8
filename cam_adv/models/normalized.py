"""A victim that was trained on normalised pixels, for images in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError


class Normalized(nn.Module):
    """A network that gets (x − mean) / std of the package's images x in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """`mean` and `std`: one number for each channel."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


def normalized(
    network: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> nn.Module:
    """The network behind `Normalized`, unless both are None; a mean alone leaves the scale, a std alone the origin.

    Raises:
        UserError: there are more or fewer numbers than channels.
    """
    if mean is None and std is None:
        return network
    for key, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise UserError(
                f"model.victim.{key} has {len(values)} numbers, but the images have {channels} "
                f"channel{'s' if channels > 1 else ''}.",
                "Give one number for each channel.",
            )
    return Normalized(network, mean or [0.0] * channels, std or [1.0] * channels).train(network.training)
