"""The Gaussian posterior: its closed forms by hand and against torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cam_adv.models.generators.base import Posterior


def test_kl_to_prior_by_hand() -> None:
    """N(1, 2²) against N(0, 1) in one dimension: ½(1 + 4 − 1 − ln 4); N(0, 1) against itself: 0."""
    posterior = Posterior(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [1.0]]))
    assert posterior.kl_to_prior().tolist() == pytest.approx([2 - math.log(2), 0.0])


def test_kl_to_prior_is_that_of_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    std = torch.rand(5, 7, generator=generator, dtype=torch.float64) + 0.1
    oracle = kl_divergence(Normal(mean, std), Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(dim=1)
    assert torch.allclose(Posterior(mean, std).kl_to_prior(), oracle, atol=1e-12)


def test_samples_have_mean_and_std_of_the_posterior() -> None:
    posterior = Posterior(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), 0.5))
    samples = posterior.sample(torch.Generator().manual_seed(0))
    assert samples.mean().item() == pytest.approx(3.0, abs=0.02)
    assert samples.std().item() == pytest.approx(0.5, abs=0.02)
