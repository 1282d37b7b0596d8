"""How far codes are from those of real images of a class: Gaussians over encoded training images."""

import math

import torch
from torch import Tensor, nn

from cam_adv.data.splits import LabelledImages
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

SHRINKAGE = 0.1
"""Share of the pooled covariance in the covariance of each class, which a few images alone determine badly."""

JITTER = 1e-4
"""What is added to every variance, relative to the mean variance, so that a collapsed latent has a density, too."""

WITHIN = 0.99
"""Share of the training images' codes that are within the density of their class; see `LatentDensity.contains`."""

SMALLEST = 1e-12
"""The smallest mean variance that this is relative to, so that codes that are all the same have a density, too."""


class LatentDensity(nn.Module):
    """One Gaussian for each class over the codes mu(x) of training images.

    The distance of a code from the data is its negative log-density above the median of real codes of its class,
    in nats. Unlike a discriminator, which is trained on samples of the prior and on codes and says little about
    anything else, it grows in every direction away from the data.
    """

    means: Tensor
    inverse_factors: Tensor
    log_scales: Tensor
    medians: Tensor
    limits: Tensor

    def __init__(self, codes: Tensor, labels: Tensor) -> None:
        """
        Args:
            codes: of training images, `(M, D)`.
            labels: their classes, `(M,)`; every class has two images or more.
        """
        super().__init__()
        codes, count = codes.double(), int(labels.max()) + 1
        members = [labels == label for label in range(count)]
        means = torch.stack([codes[rows].mean(dim=0) for rows in members])
        pooled = _covariance(codes - means[labels])
        jitter = JITTER * pooled.diagonal().mean().clamp(min=SMALLEST) * torch.eye(codes.shape[1], dtype=codes.dtype)
        factors = []
        for rows, mean in zip(members, means, strict=True):
            own = _covariance(codes[rows] - mean)
            factors.append(torch.linalg.cholesky((1 - SHRINKAGE) * own + SHRINKAGE * pooled + jitter))
        factor = torch.stack(factors)
        # Buffers, so that they move with the networks; not persistent, since generator and images determine them.
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("inverse_factors", torch.linalg.inv(factor), persistent=False)
        self.register_buffer("log_scales", factor.diagonal(dim1=1, dim2=2).log().sum(dim=1), persistent=False)
        # Class by class: `_energy` needs D² numbers for each code, too many for all training images.
        energies = [
            _gaussian_energy((codes[rows] - means[label]) @ self.inverse_factors[label].T, self.log_scales[label])
            for label, rows in enumerate(members)
        ]
        self.register_buffer("medians", torch.stack([one.median() for one in energies]), persistent=False)
        limits = torch.stack([_quantile(one) for one in energies])
        self.register_buffer("limits", limits, persistent=False)

    @classmethod
    def of(cls, generator: Generator, images: LabelledImages) -> "LatentDensity":
        """The density of the codes of images `(M, C, H, W)`, on the generator's device."""
        device = next(generator.parameters()).device
        codes = batched_apply(lambda part: generator.encode(part).mean, images.images, device)
        return cls(codes, images.labels).to(codes.dtype).to(device)

    def excess(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Nats by which the negative log-density of codes `(N, D)` exceeds the median of their classes: `(N,)`.

        It is 0 for the likelier half of real codes, so that it does not pull codes to the mean of their class.
        """
        return (self._energy(codes, labels) - self.medians[labels]).clamp(min=0)

    def contains(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Whether codes `(N, D)` are as likely as 99% of the training images' codes of their classes: `(N,)`."""
        return self._energy(codes, labels) <= self.limits[labels]

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a code from the Gaussian of each label `(N,)`: `(N, D)`, on the density's device."""
        eps = torch.randn(len(labels), self.means.shape[1], generator=generator).to(self.means)
        codes, labels = torch.empty_like(eps), labels.to(eps.device)
        for label in labels.unique().tolist():
            rows = labels == label
            offset = torch.linalg.solve_triangular(self.inverse_factors[label], eps[rows].T, upper=False).T
            codes[rows] = self.means[label] + offset
        return codes

    def _energy(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Negative log-density of each code under its class, less a constant: `(N,)`."""
        offset = (codes - self.means[labels]).unsqueeze(1)
        whitened = (self.inverse_factors[labels] * offset).sum(dim=2)  # a matrix product loses digits under autocast
        return _gaussian_energy(whitened, self.log_scales[labels])


def _gaussian_energy(whitened: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-density, less a constant, of whitened offsets from the mean, `(N, D)`: `(N,)`."""
    return 0.5 * whitened.square().sum(dim=1) + log_scale


def _quantile(energies: Tensor) -> Tensor:
    """The smallest that the share `WITHIN` of them does not exceed; NaN, as the median, of a class without images."""
    return energies.sort().values[math.ceil(WITHIN * len(energies)) - 1] if len(energies) else energies.median()


def _covariance(offsets: Tensor) -> Tensor:
    return offsets.T @ offsets / max(1, len(offsets) - 1)
