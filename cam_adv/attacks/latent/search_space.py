"""What a latent attack optimises: codes z and, beside them, a residual δ on the pixels."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cam_adv.models.generators.base import Generator
from cam_adv.models.lp_balls import project_offset
from cam_adv.schema.fields import NotNegative, Positive, StrictModel


class ResidualSettings(StrictModel):
    """The residual δ in x' = clip(G(z) + δ, 0, 1), ‖δ‖ ≤ eps (Song et al. 2018, arXiv 1805.07894, section 3.3).

    eps: its largest norm, for pixels in [0, 1]; 0: none, the image is G(z).
    norm: of the ball.
    scale: pixels per unit of the optimised variable δ/scale, which makes one learning rate serve z and δ.
    """

    eps: NotNegative
    norm: Literal["l2", "linf"]
    scale: Positive


@dataclass(frozen=True)
class SearchSpace:
    """Rows of variables: the D values of z, then those of δ/scale if there is a residual.

    latent_size: D. image_shape: `(C, H, W)`. strength: radius of the ball around z0; None: unbounded.
    """

    latent_size: int
    image_shape: tuple[int, ...]
    strength: float | None
    residual: ResidualSettings

    def start(self, codes: Tensor) -> Tensor:
        """The variables of codes `(N, D)` without a residual, `(N, V)`."""
        if self.residual.eps == 0:
            return codes
        pixels = torch.Size(self.image_shape).numel()
        return torch.cat([codes, codes.new_zeros(len(codes), pixels)], dim=1)

    def codes(self, variables: Tensor) -> Tensor:
        """z of variables `(…, V)`: `(…, D)`."""
        return variables[..., : self.latent_size]

    def residuals(self, variables: Tensor) -> Tensor | None:
        """δ of variables `(…, V)`: `(…, C, H, W)`; None without a residual."""
        if self.residual.eps == 0:
            return None
        return (variables[..., self.latent_size :] * self.residual.scale).unflatten(-1, self.image_shape)

    def images(self, generator: Generator, variables: Tensor) -> Tensor:
        """x' = clip(G(z) + δ, 0, 1) of variables `(N, V)`: `(N, C, H, W)`, contiguous."""
        generated, residual = generator.decode(self.codes(variables)), self.residuals(variables)
        return (generated if residual is None else (generated + residual).clamp(0, 1)).contiguous()

    def project(self, variables: Tensor, z0: Tensor) -> Tensor:
        """The nearest variables `(N, V)` whose codes are in the ball around z0 `(N, D)` and whose δ is in its own."""
        codes = project(self.codes(variables), z0, self.strength)
        if self.residual.eps == 0:
            return codes
        scaled = variables[:, self.latent_size :]
        radius = self.residual.eps / self.residual.scale
        return torch.cat([codes, project_offset(scaled, radius, self.residual.norm)], dim=1)


def project(codes: Tensor, origin: Tensor, radius: float | None) -> Tensor:
    """The nearest codes in the ball around `origin`; all `(N, D)`. None: no ball."""
    if radius is None:
        return codes.clone()
    offset = codes - origin
    length = offset.norm(dim=1, keepdim=True)
    return origin + offset * (radius / length.clamp(min=torch.finfo(codes.dtype).tiny)).clamp(max=1)
