"""The interface of generators, in whose latent space images are changed."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.runtime.transfer import to_device


@dataclass(frozen=True)
class Posterior:
    """q(z|x) = N(mean, diag(std²)): both `(N, D)`, std positive."""

    mean: Tensor
    std: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One reparametrised draw z = mean + std·eps, `(N, D)`."""
        eps = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + self.std * to_device(eps, self.mean.device)

    def kl_to_prior(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) of each image in nats, `(N,)`, in closed form."""
        variance = self.std.square()
        return 0.5 * (self.mean.square() + variance - 1 - variance.log()).sum(dim=1)


class Generator(nn.Module):
    """Codes `(N, D)` to images `(N, C, H, W)` in [0, 1] and back, with a classifier and a discriminator on the codes.

    A subclass sets `latent_size` (D), `classifier` (f2: codes to class logits `(N, K)`) and `discriminator` (codes to
    the logit `(N, 1)` of "drawn from the prior", which keeps codes where the decoder was trained), and implements
    `encode` and `decode`.
    """

    latent_size: int
    classifier: nn.Module
    discriminator: nn.Module

    @abstractmethod
    def encode(self, images: Tensor) -> Posterior:
        """q(z|x) of images `(N, C, H, W)` in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__}.encode")

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """G(z): codes `(N, D)` to images `(N, C, H, W)` in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__}.decode")

    def sample_prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of the prior p(z) = N(0, I), `(count, D)`."""
        return torch.randn(count, self.latent_size, generator=generator)

    def classify(self, images: Tensor) -> Tensor:
        """f2 as a classifier of images: the logits f2(mu(x)), `(N, K)`."""
        return self.classifier(self.encode(images).mean)

    def reconstruct(self, images: Tensor) -> Tensor:
        """G(mu(x)), `(N, C, H, W)` in [0, 1]."""
        return self.decode(self.encode(images).mean)

    def invert(self, images: Tensor) -> Posterior:
        """`encode`, with means that are searched for where an encoder's are only a first guess.

        Used for the images that are attacked and evaluated; it may take many steps, and has no gradient.
        """
        return self.encode(images)

    def with_class(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Codes `(N, D)` that are drawn as images of classes `(N,)`; the same codes where `decode` takes no class."""
        return codes


class BernoulliGenerator(Generator):
    """A generator whose pixels are Bernoulli variables: G(z) is their mean. `SVAEGANTraining` trains any such."""

    @abstractmethod
    def pixel_logits(self, codes: Tensor) -> Tensor:
        """Logits of the pixel probabilities, `(N, C, H, W)`, of codes `(N, D)`."""
        raise NotImplementedError(f"{type(self).__name__}.pixel_logits")

    def decode(self, codes: Tensor) -> Tensor:
        """See `Generator.decode`."""
        return self.pixel_logits(codes).sigmoid()
