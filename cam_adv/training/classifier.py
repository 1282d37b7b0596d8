"""Training any network that maps images to logits."""

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.models.lp_balls import positive_length
from cam_adv.runtime.transfer import to_device
from cam_adv.training.step_generator import step_generator
from cam_adv.training.training_module import TrainingModule

ADVERSARIAL_STEPS = 2
ADVERSARIAL_STRIDE = 0.75
"""Gradient steps that perturb an image in adversarial training, and the length of each in units of the radius."""


class ClassifierModule(TrainingModule):
    """Cross-entropy training of a classifier with AdamW and a one-cycle learning rate.

    Wraps any network from images `(N, C, H, W)` in [0, 1] to logits `(N, K)`.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        label_smoothing: float = 0.0,
        pixel_noise: float = 0.0,
        adversarial_radius: float = 0.0,
        seed: int = 0,
    ) -> None:
        """
        Args:
            network: the classifier.
            learning_rate: peak of the one-cycle schedule.
            weight_decay: of AdamW.
            label_smoothing: share of the probability mass that is spread evenly over all classes.
            pixel_noise: largest standard deviation of the Gaussian noise on training pixels; each image's is drawn
                uniformly between 0 and this.
            adversarial_radius: L2 radius of the adversarial perturbations of training images, found by
                `ADVERSARIAL_STEPS` steps up the loss (adversarial training, Madry et al. 2018); 0: none.
            seed: of the pixel noise.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        self.network = network

    @property
    def networks(self) -> list[nn.Module]:
        """What `hardware.compile` compiles."""
        return [self.network]

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        images = self._adversarial(self._noisy(images), labels)
        logits = self(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.hparams["label_smoothing"])
        self.record("train", {"loss": loss})
        return loss

    def _noisy(self, images: Tensor) -> Tensor:
        if self.hparams["pixel_noise"] == 0:
            return images
        generator = step_generator(self, self.hparams["seed"])
        std = self.hparams["pixel_noise"] * torch.rand(len(images), 1, 1, 1, generator=generator)
        return images + to_device(std * torch.randn(images.shape, generator=generator), images.device)

    def _adversarial(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images moved up the loss inside an L2 ball, whose radius grows linearly until half of the training."""
        full_radius = self.hparams["adversarial_radius"]
        if full_radius == 0:
            return images
        radius = full_radius * min(1.0, 2 * self.global_step / self.trainer.estimated_stepping_batches)
        delta = torch.zeros_like(images)
        for _ in range(ADVERSARIAL_STEPS):
            x_adv = (images + delta).requires_grad_()
            (gradient,) = torch.autograd.grad(functional.cross_entropy(self(x_adv), labels), x_adv)
            delta = delta + ADVERSARIAL_STRIDE * radius * gradient / positive_length(gradient, "l2")
            delta = delta * (radius / positive_length(delta, "l2")).clamp(max=1)
        return images + delta

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._measure(batch, "validation")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._measure(batch, "test")

    def _measure(self, batch: tuple[Tensor, Tensor], part: str) -> None:
        images, labels = batch
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        loss = functional.cross_entropy(logits, labels)
        self.record(part, {"loss": loss})
        self.log(f"{part}/loss", loss, batch_size=len(labels))
        self.log(f"{part}/accuracy", accuracy, batch_size=len(labels), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.hparams["learning_rate"],
            weight_decay=self.hparams["weight_decay"],
            fused=self.device.type == "cuda" or None,  # one kernel for all weights; None: PyTorch's choice for a CPU
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.hparams["learning_rate"],
            # With five steps or fewer the warm-up would have no step, and OneCycleLR divides by its length.
            total_steps=max(6, int(self.trainer.estimated_stepping_batches)),
            pct_start=0.2,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
