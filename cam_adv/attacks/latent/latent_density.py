"""How far codes are from those of real images: a Gaussian mixture over encoded training images."""

import torch
from torch import Tensor, nn

from cam_adv.data.splits import LabelledImages
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

SHRINKAGE = 0.1
"""Share of the pooled covariance in the covariance of each class, which a few images alone determine badly."""

JITTER = 1e-4
"""What is added to every variance, relative to the mean variance, so that a collapsed latent has a density, too."""


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

    def __init__(self, codes: Tensor, labels: Tensor) -> None:
        """
        Args:
            codes: of training images, `(M, D)`.
            labels: their classes, `(M,)`; every class has two images or more.
        """
        super().__init__()
        codes, count = codes.double(), int(labels.max()) + 1
        means = torch.stack([codes[labels == label].mean(dim=0) for label in range(count)])
        pooled = _covariance(codes - means[labels])
        jitter = JITTER * pooled.diagonal().mean() * torch.eye(codes.shape[1], dtype=codes.dtype)
        factors = []
        for label in range(count):
            own = _covariance(codes[labels == label] - means[label])
            factors.append(torch.linalg.cholesky((1 - SHRINKAGE) * own + SHRINKAGE * pooled + jitter))
        factor = torch.stack(factors)
        self.register_buffer("means", means)
        self.register_buffer("inverse_factors", torch.linalg.inv(factor))
        self.register_buffer("log_scales", factor.diagonal(dim1=1, dim2=2).log().sum(dim=1))
        self.register_buffer("medians", torch.zeros(count, dtype=codes.dtype))
        energy = self._energy(codes, labels)
        self.medians = torch.stack([energy[labels == label].median() for label in range(count)])

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

    def _energy(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Negative log-density of each code under its class, less a constant: `(N,)`."""
        offset = (codes - self.means[labels]).unsqueeze(2)
        whitened = torch.bmm(self.inverse_factors[labels], offset).squeeze(2)
        return 0.5 * whitened.square().sum(dim=1) + self.log_scales[labels]


def _covariance(offsets: Tensor) -> Tensor:
    return offsets.T @ offsets / max(1, len(offsets) - 1)
