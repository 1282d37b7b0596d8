"""Training what a decoder from elsewhere lacks: an encoder, and classifier and discriminator on its codes."""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanSquaredError

from cam_adv.data.data_module import ImageDataModule
from cam_adv.errors import UserError
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.runtime.transfer import to_device
from cam_adv.schema.fields import Count, Index, Positive
from cam_adv.schema.models import GeneratorTraining
from cam_adv.training.discriminator_loss import discriminator_loss
from cam_adv.training.one_cycle import cycle_in_each_phase
from cam_adv.training.step_generator import step_generator
from cam_adv.training.training_module import TrainingModule


class LatentHeadsTraining(GeneratorTraining):
    """The settings of `LatentHeads`, where they are explained."""

    encoder_epochs: Index
    head_epochs: Count
    learning_rate: Positive

    @property
    def epochs(self) -> int:
        """See `GeneratorTraining.epochs`."""
        return self.encoder_epochs + self.head_epochs

    def module(self, network: nn.Module, seed: int) -> LightningModule:
        """See `GeneratorTraining.module`.

        Raises:
            UserError: the network is no `PretrainedGenerator`, or its encoder would not be trained.
        """
        if not isinstance(network, PretrainedGenerator):
            raise UserError(
                f"model.generator.training trains parts of a PretrainedGenerator, but the network is a "
                f"{type(network).__name__}.",
                "Give model.generator.training the _target_ of a training of that network.",
            )
        if network.trains_encoder and not self.encoder_epochs:
            raise UserError(
                f"model.generator.training.encoder_epochs=0, but {network.name} needs an encoder.",
                "Give the number of epochs in which it is trained, such as 20.",
            )
        return LatentHeads(network, self.encoder_epochs, self.head_epochs, self.learning_rate, seed)


class LatentHeads(TrainingModule):
    """First the encoder, if there is one to train, then f2 and D on codes; the decoder is frozen.

    The encoder learns to predict the codes of the decoder's own prior samples, and to encode training images so that
    the decoder draws them again. Both errors are squared, and relative to the variance of codes and of pixels. For a
    class-conditional decoder the classes of both kinds of images are learnt, too, by cross-entropy.

    Then f2 learns the classes of training images from z ~ q(z|x), and D to tell such codes from prior samples.
    """

    network: PretrainedGenerator

    def __init__(
        self, network: PretrainedGenerator, encoder_epochs: int, head_epochs: int, learning_rate: float, seed: int
    ) -> None:
        """
        Args:
            network: a decoder and the parts to train.
            encoder_epochs: of the encoder; f2 and D are trained in these, too, where there is no encoder to train.
            head_epochs: of f2 and D.
            learning_rate: peak of the one-cycle schedule of each phase.
            seed: of the prior samples and the latent draws.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        self.network = network
        self.first_head_epoch = encoder_epochs if network.trains_encoder else 0
        self.validation_rms, self.test_rms = MeanSquaredError(squared=False), MeanSquaredError(squared=False)

    @property
    def networks(self) -> list[nn.Module]:
        """What `hardware.compile` compiles."""
        return [self.network]

    def on_train_epoch_start(self) -> None:
        """Fit the components and the spread of codes, before the heads anew with those of the trained encoder.

        The encoder is in evaluation mode while the heads are trained, which get its codes as they will be used.
        """
        if self.current_epoch in (0, self.first_head_epoch):
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(data, ImageDataModule)
            self.network.fit_codes(data.splits.train.images)
        self.network.train_encoders(self.current_epoch < self.first_head_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        generator = step_generator(self, self.hparams["seed"])
        if self.current_epoch < self.first_head_epoch:
            terms = self._encoder_objective(images, labels, generator)
        else:
            terms = self._head_objective(images, labels, generator)
        self.record("train", terms)
        return terms["loss"]

    def _encoder_objective(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        network, terms = self.network, {}
        prior = to_device(network.sample_prior(len(images), generator), images.device)
        free, class_part = prior[:, : network.free_size], prior[:, network.free_size :]
        with torch.no_grad():
            drawn = network.decode(prior)
        if network.code_encoder is not None:
            terms["code_error"] = functional.mse_loss(network.code_encoder(drawn), free) / free.var()
            terms["pixel_error"] = functional.mse_loss(network.reconstruct(images), images) / images.var()
        if network.class_encoder is not None:
            terms["drawn_class_loss"] = functional.cross_entropy(network.class_encoder(drawn), class_part)
            terms["class_loss"] = functional.cross_entropy(network.class_encoder(images), labels)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _head_objective(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        network = self.network
        with torch.no_grad():
            codes = network.encode(images).sample(generator)
            prior = to_device(network.sample_prior(len(codes), generator), codes.device)
        f2 = functional.cross_entropy(network.classifier(codes), labels)
        discriminator, accuracy = discriminator_loss(network.discriminator, prior, codes)
        return {
            "loss": f2 + discriminator,
            "J_2": f2,
            "discriminator_loss": discriminator,
            "discriminator_accuracy": accuracy,
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._measure(batch, "validation", self.validation_rms)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._measure(batch, "test", self.test_rms)

    def _measure(self, batch: tuple[Tensor, Tensor], part: str, rms: MeanSquaredError) -> None:
        images, labels = batch
        codes = self.network.encode(images).mean
        rms.update(self.network.decode(codes).flatten(1), images.flatten(1))
        accuracy = (self.network.classifier(codes).argmax(dim=1) == labels).float().mean()
        self.record(part, {"reconstruction_rms": rms.compute()})
        self.log(f"{part}/reconstruction_rms", rms, prog_bar=True)
        self.log(f"{part}/f2_accuracy", accuracy, batch_size=len(labels), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.hparams["learning_rate"], fused=True)
        epochs = self.hparams["encoder_epochs"] + self.hparams["head_epochs"]
        schedule = cycle_in_each_phase(optimizer, self.trainer, self.first_head_epoch, epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
