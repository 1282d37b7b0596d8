"""The supervised VAE's closed forms, and what each phase of its training moves."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from cam_adv.networks.svae import SVAE, Posterior, bernoulli_nats
from cam_adv.training.svae_gan import SVAEGAN, one_cycle


def network(image_size: tuple[int, int] = (28, 28), channels: int = 1) -> SVAE:
    torch.manual_seed(0)
    return SVAE(channels, 4, image_size, latent_size=6, width=4, hidden=16)


def test_kl_by_hand() -> None:
    """N(1, 2²) against N(0, 1) in one dimension: ½(1 + 4 − 1 − ln 4); N(0, 1) against itself: 0."""
    posterior = Posterior(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [1.0]]))
    assert posterior.kl_to_prior().tolist() == pytest.approx([2 - math.log(2), 0.0])


def test_kl_against_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    deviation = torch.rand(5, 7, generator=generator, dtype=torch.float64) + 0.1
    oracle = kl_divergence(Normal(mean, deviation), Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(dim=1)
    assert torch.allclose(Posterior(mean, deviation).kl_to_prior(), oracle, atol=1e-12)


def test_likelihood_of_binary_pixels_against_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 4, 5, generator=generator, dtype=torch.float64)
    pixels = (torch.rand(3, 1, 4, 5, generator=generator) > 0.5).double()
    oracle = -Independent(Bernoulli(logits=logits), 3).log_prob(pixels)
    assert torch.allclose(bernoulli_nats(logits, pixels), oracle, atol=1e-12)


def test_likelihood_of_gray_pixels_by_hand() -> None:
    """Two pixels at probability ½ cost ln 2 each, whatever their gray."""
    assert bernoulli_nats(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.3, 1.0]]]])).item() == pytest.approx(
        2 * math.log(2)
    )


def test_posterior_samples_have_its_moments() -> None:
    posterior = Posterior(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), 0.5))
    drawn = posterior.sample(torch.Generator().manual_seed(0))
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (32, 32)), (1, (30, 45))])
def test_pictures_keep_their_size_and_range(channels: int, size: tuple[int, int]) -> None:
    pictures = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    drawn = network(size, channels).reconstruct(pictures)
    assert drawn.shape == pictures.shape
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_objective_is_the_sum_of_its_parts() -> None:
    """J = kl_weight·J_KL + f2_weight·J_2 + J_dec, each recomputed here from the networks."""
    module = SVAEGAN(network(), 1, 1, 1e-3, kl_weight=0.5, f2_weight=2.0, seed=0)
    pictures, labels = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 3])
    terms = module._objective(pictures, labels, torch.Generator().manual_seed(5))
    posterior = module.network.encode(pictures)
    codes = posterior.sample(torch.Generator().manual_seed(5))
    kl = posterior.kl_to_prior().mean()
    f2 = -module.network.classifier(codes).log_softmax(dim=1)[torch.arange(3), labels].mean()
    nats = bernoulli_nats(module.network.decoder(codes), pictures).mean()
    assert terms["objective"].item() == pytest.approx((0.5 * kl + 2 * f2 + nats).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("phase", "moves"), [("svae", {"encoder", "decoder", "classifier"}), ("gan", {"discriminator"})]
)
def test_each_phase_reaches_only_its_own_parameters(phase: str, moves: set[str]) -> None:
    module = SVAEGAN(network(), 1, 1, 1e-3, kl_weight=1.0, f2_weight=1.0, seed=0)
    pictures, labels = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    generator = torch.Generator().manual_seed(0)
    if phase == "svae":
        module._objective(pictures, labels, generator)["objective"].backward()
    else:
        module._discriminator_objective(pictures, generator)["objective"].backward()
    reached = {name.split(".")[0] for name, weight in module.network.named_parameters() if weight.grad is not None}
    assert reached == moves


def test_discriminator_objective_of_a_blind_discriminator() -> None:
    """A discriminator that always answers 0 has loss ln 2 and is right about every encoded code."""
    module = SVAEGAN(network(), 1, 1, 1e-3, kl_weight=1.0, f2_weight=1.0, seed=0)
    for weight in module.network.discriminator.parameters():
        weight.data.zero_()
    terms = module._discriminator_objective(torch.rand(4, 1, 28, 28), torch.Generator().manual_seed(0))
    assert terms["objective"].item() == pytest.approx(math.log(2))
    assert terms["discriminator_accuracy"].item() == 0.5


def test_one_cycle_rises_to_the_peak_and_falls_to_zero() -> None:
    rates = [one_cycle(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 9
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert rates[4] == pytest.approx(0.5)
