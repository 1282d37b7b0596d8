"""Training the supervised VAE, then the latent discriminator on its frozen codes."""

from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.errors import UserError
from cam_adv.models.generators.base import BernoulliGenerator, Generator
from cam_adv.models.generators.svae import bernoulli_nats
from cam_adv.runtime.transfer import to_device
from cam_adv.schema.fields import Count, NotNegative, Positive
from cam_adv.schema.models import GeneratorTraining
from cam_adv.training.discriminator_loss import discriminator_loss
from cam_adv.training.feature_loss import FeatureLoss
from cam_adv.training.one_cycle import cycle_in_each_phase
from cam_adv.training.step_generator import step_generator
from cam_adv.training.training_module import TrainingModule

Pixels = Literal["bernoulli", "laplace"]


class SVAEGANTraining(GeneratorTraining):
    """The settings of `SVAEGAN`, where they are explained."""

    svae_epochs: Count
    discriminator_epochs: Count
    learning_rate: Positive
    pixels: Pixels = "bernoulli"
    kl_weight: Positive
    f2_weight: NotNegative
    feature_weight: NotNegative = 0.0
    feature_width: Count = 16

    @property
    def epochs(self) -> int:
        """See `GeneratorTraining.epochs`."""
        return self.svae_epochs + self.discriminator_epochs

    def module(self, network: nn.Module, seed: int) -> LightningModule:
        """See `GeneratorTraining.module`.

        Raises:
            UserError: the network is no `Generator`, or its pixels are no Bernoulli variables but `pixels` says so.
        """
        if not isinstance(network, Generator):
            raise UserError(
                f"model.generator.training trains generators, but the network is a {type(network).__name__}.",
                f"Give a subclass of {Generator.__module__}.{Generator.__name__}.",
            )
        if self.pixels == "bernoulli" and not isinstance(network, BernoulliGenerator):
            raise UserError(
                f"model.generator.training.pixels=bernoulli, but the network is a {type(network).__name__}, whose "
                "pixels have no Bernoulli logits.",
                "Set model.generator.training.pixels to laplace.",
            )
        return SVAEGAN(network, seed=seed, **self.model_dump(exclude={"batch_size", "augmentation"}))


class SVAEGAN(TrainingModule):
    """Tang et al. 2019: first J = J_KL + J_2 + J_dec (eq. 6), then the latent discriminator.

    In the first `svae_epochs` the encoder, the decoder and f2 minimise the mean over images of

        J = KL(q(z|x) || N(0, I)) + CE(f2(z), y) − log p(x|z),   z ~ q(z|x),

    in nats, with a weight on J_KL and on J_2, and perhaps beside J_dec the distance of features (`FeatureLoss`). In
    the next `discriminator_epochs` D is trained to classify prior samples (1) and encoded codes (0), and all other
    weights stay the same. One optimiser serves both: a parameter that the loss of a phase does not depend on has no
    gradient, and Adam skips it.
    """

    def __init__(
        self,
        network: Generator,
        svae_epochs: int,
        discriminator_epochs: int,
        learning_rate: float,
        pixels: Pixels,
        kl_weight: float,
        f2_weight: float,
        feature_weight: float,
        feature_width: int,
        seed: int,
    ) -> None:
        """
        Args:
            network: the SVAE with its discriminator.
            svae_epochs: epochs of the first phase.
            discriminator_epochs: epochs of the second phase.
            learning_rate: peak of the one-cycle schedule of each phase.
            pixels: p(x|z): Bernoulli variables, which need a `BernoulliGenerator`, or Laplace variables of scale 1,
                under which −log p is the sum of absolute differences, up to a constant.
            kl_weight: factor of J_KL in J; 1 in the paper.
            f2_weight: factor of J_2 in J; 1 in the paper.
            feature_weight: factor of the features' distance; 0: none, as in the paper.
            feature_width: see `FeatureLoss`.
            seed: of the latent draws, and of the initial weights of the features' classifier.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        self.network = network
        self.feature_loss = feature_loss_for(network, feature_width, seed) if feature_weight else None

    @property
    def networks(self) -> list[nn.Module]:
        """What `hardware.compile` compiles."""
        return [self.network]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        generator = step_generator(self, self.hparams["seed"])
        if self.current_epoch < self.hparams["svae_epochs"]:
            terms = self._objective(images, labels, generator)
        else:
            terms = self._discriminator_objective(images, generator)
        self.record("train", terms)
        return terms["objective"]

    def _objective(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        weights, posterior = self.hparams, self.network.encode(images)
        codes = posterior.sample(generator)
        kl = posterior.kl_to_prior().mean()
        nats, decoded = self._reconstruction_nats(codes, images)
        f2 = functional.cross_entropy(self.network.classifier(codes), labels)
        terms = {"J_KL": kl, "J_2": f2, "J_dec": nats.mean()}
        objective = weights["kl_weight"] * kl + weights["f2_weight"] * f2 + terms["J_dec"]
        if self.feature_loss is not None:
            distance, classifier_loss = (loss.mean() for loss in self.feature_loss(images, decoded, labels))
            terms |= {"feature_distance": distance, "feature_classifier": classifier_loss}
            objective = objective + weights["feature_weight"] * distance + classifier_loss
        return {"objective": objective, **terms}

    def _reconstruction_nats(self, codes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(x|z) of each image, `(N,)`, up to a constant, and the decoded images."""
        if self.hparams["pixels"] == "bernoulli":
            assert isinstance(self.network, BernoulliGenerator)  # see SVAEGANTraining.module
            logits = self.network.pixel_logits(codes)
            return bernoulli_nats(logits, images), logits.sigmoid()
        decoded = self.network.decode(codes)
        return (decoded - images).abs().sum(dim=(1, 2, 3)), decoded

    def _discriminator_objective(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            encoded = self.network.encode(images).sample(generator)
        prior = to_device(torch.randn(encoded.shape, generator=generator), encoded.device)
        objective, accuracy = discriminator_loss(self.network.discriminator, prior, encoded)
        return {"objective": objective, "discriminator_loss": objective, "discriminator_accuracy": accuracy}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._measure(batch, "validation")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._measure(batch, "test")

    def _measure(self, batch: tuple[Tensor, Tensor], part: str) -> None:
        images, labels = batch
        posterior = self.network.encode(images)
        logits = self.network.classifier(posterior.mean)
        figures = {
            "reconstruction_nats": self._reconstruction_nats(posterior.mean, images)[0].mean(),
            "kl_nats": posterior.kl_to_prior().mean(),
            "f2_accuracy": (logits.argmax(dim=1) == labels).float().mean(),
        }
        self.record(part, figures)
        for name, value in figures.items():
            self.log(f"{part}/{name}", value, batch_size=len(labels), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        # Measured on two cores: an epoch takes a tenth less than where each operation of the update is a kernel.
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["learning_rate"], fused=True)
        first_epochs = self.hparams["svae_epochs"]
        schedule = cycle_in_each_phase(
            optimizer, self.trainer, first_epochs, first_epochs + self.hparams["discriminator_epochs"]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def feature_loss_for(network: Generator, width: int, seed: int) -> FeatureLoss:
    """The feature loss for a generator's images and classes, with weights drawn from `seed`."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        code = torch.zeros(1, network.latent_size)
        channels, classes = network.decode(code).shape[1], network.classifier(code).shape[1]
        return FeatureLoss(channels, classes, width).to(memory_format=torch.channels_last)
