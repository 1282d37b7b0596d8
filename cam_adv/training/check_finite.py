"""Stop a training at the first NaN or infinite loss."""

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cam_adv.errors import UserError


def check_finite(module: LightningModule, terms: Mapping[str, Tensor]) -> None:
    """Stop a training in which a loss or metric is NaN or infinite, before a checkpoint is written over a good one.

    Args:
        terms: scalars by name.

    Raises:
        UserError: one of them is NaN or infinite; the message names it, the step and the last good checkpoint.
    """
    if torch.stack([value.detach() for value in terms.values()]).isfinite().all():
        return
    name = next(name for name, value in terms.items() if not value.isfinite())
    checkpoint = getattr(module.trainer.checkpoint_callback, "best_model_path", "")
    kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
    where = f"at step {module.global_step} of a training, in epoch {module.current_epoch}"
    raise UserError(
        f"{name} is {terms[name].item()} {where}; {kept}.",
        "Lower its training.learning_rate, or look for images or a layer that produce such values.",
    )
