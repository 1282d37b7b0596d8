"""The victim's scores of clean images, and of those that attacks and controls make, for each class."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.data.splits import ImageSplits
from cam_adv.models.predictions import batched_apply


@dataclass(frozen=True)
class Scores:
    """The victim's log-odds of every class in float64, `(n, K)`: of validation and test images, and others by name.

    Log-odds distinguish what probabilities round to 1.
    """

    validation: Tensor
    test: Tensor
    pictures: dict[str, Tensor]

    @classmethod
    def compute(
        cls, victim: nn.Module, splits: ImageSplits, pictures: Mapping[str, Tensor], device: torch.device
    ) -> "Scores":
        """Run the victim on the splits and on pictures `(n, C, H, W)` in [0, 1] by name."""
        victim = victim.to(device)

        def score(images: Tensor) -> Tensor:
            return log_odds(batched_apply(victim, images, device))

        scores = {name: score(images) for name, images in pictures.items()}
        return cls(score(splits.validation.images), score(splits.test.images), scores)

    def tensors(self) -> dict[str, Tensor]:
        """The content of `scores.safetensors`."""
        return {"validation": self.validation, "test": self.test} | self.pictures


def log_odds(logits: Tensor) -> Tensor:
    """log p_c − log(1 − p_c) of every class c under the softmax of logits `(N, K)`, in float64: `(N, K)`."""
    logits = logits.double()
    classes = [torch.full((len(logits),), label) for label in range(logits.shape[1])]
    return torch.stack([log_odds_of(logits, label) for label in classes], dim=1)
