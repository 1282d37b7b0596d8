"""The loss of a latent discriminator."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def discriminator_loss(discriminator: nn.Module, prior: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of classifying prior samples (1) and encoded codes (0), and the accuracy.

    Args:
        discriminator: codes `(N, D)` to logits `(N, 1)`.
        prior, encoded: `(N, D)`.
    """
    logits = discriminator(torch.cat([prior, encoded])).squeeze(1)
    is_prior = torch.cat([logits.new_ones(len(prior)), logits.new_zeros(len(encoded))])
    accuracy = ((logits > 0) == is_prior.bool()).float().mean()
    return functional.binary_cross_entropy_with_logits(logits, is_prior), accuracy
