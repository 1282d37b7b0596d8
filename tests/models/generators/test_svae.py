"""The supervised VAE: the likelihood of its pixels, and the shapes and ranges of its parts."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent

from cam_adv.models.generators.svae import SVAE, bernoulli_nats


def svae(image_size: tuple[int, int] = (28, 28), channels: int = 1) -> SVAE:
    torch.manual_seed(0)
    return SVAE(channels, 4, image_size, latent_size=6, width=4, hidden=16)


def test_bernoulli_nats_of_binary_pixels_is_that_of_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 4, 5, generator=generator, dtype=torch.float64)
    pixels = (torch.rand(3, 1, 4, 5, generator=generator) > 0.5).double()
    oracle = -Independent(Bernoulli(logits=logits), 3).log_prob(pixels)
    assert torch.allclose(bernoulli_nats(logits, pixels), oracle, atol=1e-12)


def test_bernoulli_nats_of_gray_pixels_by_hand() -> None:
    """Two pixels at probability ½ cost ln 2 each, whatever their gray."""
    nats = bernoulli_nats(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.3, 1.0]]]]))
    assert nats.item() == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (32, 32)), (1, (30, 45))])
def test_reconstruction_keeps_size_and_range(channels: int, size: tuple[int, int]) -> None:
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    reconstruction = svae(size, channels).reconstruct(images)
    assert reconstruction.shape == images.shape
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1


def test_decode_is_the_probability_of_the_pixel_logits() -> None:
    network, codes = svae(), torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.decode(codes), network.pixel_logits(codes).sigmoid())


def test_heads_have_published_layers() -> None:
    """f2: 256-128-K. D: 256-128-64-1."""
    network = svae()

    def sizes(head: torch.nn.Module) -> list[int]:
        return [layer.out_features for layer in head.modules() if isinstance(layer, torch.nn.Linear)]

    assert sizes(network.classifier) == [256, 128, 4]
    assert sizes(network.discriminator) == [256, 128, 64, 1]


def test_classify_is_f2_of_the_posterior_mean() -> None:
    network, images = svae(), torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.classify(images), network.classifier(network.encode(images).mean))


def test_sample_prior_is_standard_normal_and_seeded() -> None:
    network = svae()
    first, again = (network.sample_prior(4000, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (4000, 6)
    assert first.mean().item() == pytest.approx(0, abs=0.02)
    assert first.std().item() == pytest.approx(1, abs=0.02)
