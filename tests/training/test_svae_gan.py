"""The training of the supervised VAE and its discriminator: objectives, and which parameters each phase trains."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.generators.base import BernoulliGenerator, Posterior
from cam_adv.models.generators.residual_svae import ResidualSVAE
from cam_adv.models.generators.svae import SVAE, bernoulli_nats
from cam_adv.training.one_cycle import one_cycle
from cam_adv.training.svae_gan import SVAEGAN, Pixels, SVAEGANTraining, feature_loss_for


class LinearGenerator(BernoulliGenerator):
    """One linear layer for each part; the posterior has a fixed standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_size = 3
        self.encoder, self.decoder = nn.Linear(784, 3), nn.Linear(3, 784)
        self.classifier, self.discriminator = nn.Linear(3, 4), nn.Linear(3, 1)

    def encode(self, images: Tensor) -> Posterior:
        mean = self.encoder(images.flatten(1))
        return Posterior(mean, torch.full_like(mean, 0.1))

    def pixel_logits(self, codes: Tensor) -> Tensor:
        return self.decoder(codes).reshape(-1, 1, 28, 28)


def svae() -> SVAE:
    torch.manual_seed(0)
    return SVAE(1, 4, (28, 28), latent_size=6, width=4, hidden=16)


def module(
    kl_weight: float = 1.0, f2_weight: float = 1.0, pixels: Pixels = "bernoulli", feature_weight: float = 0.0
) -> SVAEGAN:
    return SVAEGAN(svae(), 1, 1, 1e-3, pixels, kl_weight, f2_weight, feature_weight, feature_width=4, seed=0)


def training(**changes: Any) -> SVAEGANTraining:
    augmentation = {"shift": 1.0, "rotation": 0.0, "scale": 0.0, "shear": 0.0, "brightness": 0.0, "padding": "zeros"}
    epochs = {"svae_epochs": 3, "discriminator_epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
    weights = {"kl_weight": 0.2, "f2_weight": 1.0, "feature_weight": 0.0, "feature_width": 4}
    return SVAEGANTraining(**{**epochs, **weights, "pixels": "bernoulli", "augmentation": augmentation, **changes})


def test_objective_is_the_weighted_sum_of_its_terms() -> None:
    """J = kl_weight·J_KL + f2_weight·J_2 + J_dec, each recomputed here from the networks."""
    trained = module(kl_weight=0.5, f2_weight=2.0)
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 3])
    terms = trained._objective(images, labels, torch.Generator().manual_seed(5))
    posterior = trained.network.encode(images)
    codes = posterior.sample(torch.Generator().manual_seed(5))
    kl = posterior.kl_to_prior().mean()
    f2 = -trained.network.classifier(codes).log_softmax(dim=1)[torch.arange(3), labels].mean()
    nats = bernoulli_nats(trained.network.pixel_logits(codes), images).mean()
    assert terms["objective"].item() == pytest.approx((0.5 * kl + 2 * f2 + nats).item(), rel=1e-6)


def test_laplace_objective_has_absolute_differences_and_the_distance_of_features() -> None:
    trained = module(pixels="laplace", feature_weight=3.0)
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 3])
    terms = trained._objective(images, labels, torch.Generator().manual_seed(5))
    posterior = trained.network.encode(images)
    codes = posterior.sample(torch.Generator().manual_seed(5))
    decoded = trained.network.decode(codes)
    assert terms["J_dec"].item() == pytest.approx((decoded - images).abs().sum().item() / 3, rel=1e-5)
    assert trained.feature_loss is not None
    distance, classifier_loss = (loss.mean() for loss in trained.feature_loss(images, decoded, labels))
    assert terms["feature_distance"].item() == pytest.approx(distance.item(), rel=1e-5)
    expected = terms["J_KL"] + terms["J_2"] + terms["J_dec"] + 3 * distance + classifier_loss
    assert terms["objective"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_features_classifier_is_drawn_from_the_seed_and_leaves_the_global_one() -> None:
    network = svae()
    before = torch.get_rng_state()
    losses = [feature_loss_for(network, 4, seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (torch.cat([weight.flatten() for weight in loss.parameters()]) for loss in losses)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert losses[0].classifier.out_features == 4  # classes


@pytest.mark.parametrize(
    ("phase", "trained"), [("svae", {"encoder", "decoder", "classifier"}), ("gan", {"discriminator"})]
)
def test_each_phase_has_gradients_for_its_own_parameters_only(phase: str, trained: set[str]) -> None:
    lightning_module = module()
    images, labels = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    generator = torch.Generator().manual_seed(0)
    if phase == "svae":
        lightning_module._objective(images, labels, generator)["objective"].backward()
    else:
        lightning_module._discriminator_objective(images, generator)["objective"].backward()
    named = lightning_module.network.named_parameters()
    assert {name.split(".")[0] for name, weight in named if weight.grad is not None} == trained


def test_discriminator_objective_of_a_constant_discriminator_is_ln2() -> None:
    """A discriminator whose logit is always 0 classifies every encoded code correctly and no sample of the prior."""
    lightning_module = module()
    for weight in lightning_module.network.discriminator.parameters():
        weight.data.zero_()
    terms = lightning_module._discriminator_objective(torch.rand(4, 1, 28, 28), torch.Generator().manual_seed(0))
    assert terms["objective"].item() == pytest.approx(math.log(2))
    assert terms["discriminator_accuracy"].item() == 0.5


def test_one_cycle_rises_to_the_peak_and_falls_to_zero() -> None:
    rates = [one_cycle(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 9
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert rates[4] == pytest.approx(0.5)


class TestSettings:
    def test_epochs_are_those_of_both_phases(self) -> None:
        assert training().epochs == 5

    def test_module_has_the_settings(self) -> None:
        made = training(kl_weight=0.3).module(svae(), seed=7)
        assert isinstance(made, SVAEGAN)
        assert (made.hparams["kl_weight"], made.hparams["seed"], made.hparams["svae_epochs"]) == (0.3, 7, 3)

    def test_network_of_another_class_raises(self) -> None:
        with pytest.raises(UserError, match="trains generators, but the network is a Linear"):
            training().module(nn.Linear(2, 2), seed=0)

    def test_bernoulli_pixels_of_a_network_without_their_logits_raise(self) -> None:
        network = ResidualSVAE(1, 4, (28, 28), latent_size=6, widths=[8])
        with pytest.raises(UserError, match=r"pixels=bernoulli, but the network is a ResidualSVAE") as refusal:
            training().module(network, seed=0)
        assert refusal.value.remedy == "Set model.generator.training.pixels to laplace."
        assert isinstance(training(pixels="laplace").module(network, seed=0), SVAEGAN)

    def test_module_trains_any_bernoulli_generator(self) -> None:
        made = training().module(LinearGenerator(), seed=0)
        assert isinstance(made, SVAEGAN)
        images, generator = torch.rand(4, 1, 28, 28), torch.Generator().manual_seed(0)
        made._objective(images, torch.tensor([0, 1, 2, 3]), generator)["objective"].backward()
        made._discriminator_objective(images, generator)["objective"].backward()
        assert all(weight.grad is not None for weight in made.network.parameters())

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"kl_weight": 0}, "model.generator.training.kl_weight=0"),
            ({"pixels": "gauss"}, "model.generator.training.pixels=gauss"),
            ({"svae_epochs": 0}, "model.generator.training.svae_epochs=0"),
            ({"epoch": 3}, "model.generator.training.epoch is no key"),
        ],
    )
    def test_invalid_values_raise(self, changes: dict[str, Any], what: str) -> None:
        with pytest.raises(UserError) as refusal:
            training(**changes)
        assert what in refusal.value.what
        assert refusal.value.remedy.endswith(".")
