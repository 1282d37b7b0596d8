"""The base of modules that train a network: their losses are checked and averaged without a wait at each step."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cam_adv.errors import UserError

CHECK_INTERVAL = 100
"""Batches between two checks. A check waits until the GPU has computed the losses; one at each step would idle it."""


class BatchTerms(NamedTuple):
    """Losses and metrics of a batch, `(T,)`, and their names; `step`: how many training steps came before."""

    step: int
    names: list[str]
    values: Tensor


class TrainingModule(LightningModule):
    """Stops a training at the first NaN or infinite loss or metric, before a checkpoint is written over a good one.

    The losses stay on the device, and are looked at every `CHECK_INTERVAL` batches and at the end of an epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._train_terms: list[BatchTerms] = []
        self._unchecked: list[BatchTerms] = []

    def record(self, part: str, terms: Mapping[str, Tensor]) -> None:
        """Keep the terms of a batch to be checked; those of training are logged at the end of the epoch.

        Args:
            part: "train", "validation" or "test".
            terms: scalars by name, their averages over the batch.

        Raises:
            UserError: see `check_finite`.
        """
        values = torch.stack([value.detach() for value in terms.values()])
        batch = BatchTerms(self.global_step, [f"{part}/{name}" for name in terms], values)
        self._unchecked.append(batch)
        if part == "train":
            self._train_terms.append(batch)
        if len(self._unchecked) == CHECK_INTERVAL:
            self.check_finite()

    def check_finite(self) -> None:
        """Check the terms that were recorded since the last check.

        Raises:
            UserError: one of them is NaN or infinite; the message names the first, its step and the last good
                checkpoint.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked or torch.cat([batch.values for batch in unchecked]).isfinite().all():
            return
        name, value, step = next(
            (name, value, batch.step)
            for batch in unchecked
            for name, value in zip(batch.names, batch.values.tolist(), strict=True)
            if not math.isfinite(value)
        )
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
        raise UserError(
            f"{name} is {value} at step {step} of a training, in epoch {self.current_epoch}; {kept}.",
            "Lower its training.learning_rate, or look for images or a layer that produce such values.",
        )

    def on_train_epoch_end(self) -> None:
        """Lightning calls it before it writes the checkpoint of the epoch."""
        self.check_finite()
        batches, self._train_terms = self._train_terms, []
        means = torch.stack([batch.values for batch in batches]).mean(dim=0)
        for name, mean in zip(batches[0].names, means, strict=True):
            self.log(name, mean)

    def on_validation_epoch_end(self) -> None:
        """See `check_finite`."""
        self.check_finite()

    def on_test_epoch_end(self) -> None:
        """See `check_finite`."""
        self.check_finite()
