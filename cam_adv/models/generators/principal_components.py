"""Whitened principal components of codes, as shorter codes."""

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError


class PrincipalComponents(nn.Module):
    """z = (c − mean)·directions / scale of codes c `(N, n)`, and back; z `(N, D)` of the fitted codes has N(0, I)'s
    mean and covariance.

    Until `fit` has been called, z is the first D numbers of c. The precision is that of the directions, also under
    autocast.
    """

    mean: Tensor
    directions: Tensor
    scale: Tensor

    def __init__(self, inputs: int, components: int) -> None:
        """
        Args:
            inputs: n, numbers of a code c.
            components: D.

        Raises:
            UserError: there are fewer numbers than components.
        """
        super().__init__()
        if not 1 <= components <= inputs:
            raise UserError(
                f"model.generator.network.components={components}, but the decoder's codes have {inputs} numbers.",
                f"Give at most {inputs}, or null for the codes as they are.",
            )
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("directions", torch.eye(inputs, components))
        self.register_buffer("scale", torch.ones(components))

    def fit(self, codes: Tensor) -> None:
        """Take the directions of largest variance of codes `(N, n)`.

        Raises:
            UserError: the codes vary in fewer directions than there are components.
        """
        centred = codes.double() - codes.double().mean(dim=0)
        _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
        scale = values / (len(codes) - 1) ** 0.5
        varied, components = int((scale > torch.finfo(codes.dtype).eps * scale[0]).sum()), len(self.scale)
        if varied < components:
            raise UserError(
                f"model.generator.network.components={components}, but the codes of {len(codes)} training images "
                f"vary in {varied} directions.",
                f"Give at most {varied}.",
            )
        self.mean.copy_(codes.double().mean(dim=0))
        self.directions.copy_(vectors[:components].T)
        self.scale.copy_(scale[:components])

    def forward(self, codes: Tensor) -> Tensor:
        """z of codes `(N, n)`: `(N, D)`."""
        with torch.autocast(codes.device.type, enabled=False):
            return (codes - self.mean) @ self.directions / self.scale

    def spread(self, std: Tensor) -> Tensor:
        """The standard deviations of z, `(N, D)`, of independent codes with standard deviations `(N, n)`."""
        with torch.autocast(std.device.type, enabled=False):
            return (std.to(self.scale.dtype).square() @ self.directions.square()).sqrt() / self.scale

    def inverse(self, z: Tensor) -> Tensor:
        """The codes `(N, n)` nearest to the mean among those with this z `(N, D)`."""
        with torch.autocast(z.device.type, enabled=False):
            return self.mean + (z * self.scale) @ self.directions.T
