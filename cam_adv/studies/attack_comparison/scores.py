"""The victim's scores of clean and attacked images for each class."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.attacks.result import AttackResult
from cam_adv.data.splits import ImageSplits
from cam_adv.models.predictions import batched_apply


@dataclass(frozen=True)
class Scores:
    """The victim's log-odds of every class in float64, `(n, K)`: of validation and test images, and of attacks' x'.

    Log-odds distinguish what probabilities round to 1.

    attacked: attack → log-odds of its images.
    """

    validation: Tensor
    test: Tensor
    attacked: dict[str, Tensor]

    @classmethod
    def compute(
        cls, victim: nn.Module, splits: ImageSplits, results: Mapping[str, AttackResult], device: torch.device
    ) -> "Scores":
        """Run the victim on the splits and on the results of the attacks, by the attack's name."""
        victim = victim.to(device)

        def score(images: Tensor) -> Tensor:
            return log_odds(batched_apply(victim, images, device))

        attacked = {name: score(result.x_adv) for name, result in results.items()}
        return cls(score(splits.validation.images), score(splits.test.images), attacked)

    def tensors(self) -> dict[str, Tensor]:
        """The content of `scores.safetensors`."""
        attacked = {f"attack {name}": scores for name, scores in self.attacked.items()}
        return {"validation": self.validation, "test": self.test} | attacked


def log_odds(logits: Tensor) -> Tensor:
    """log p_c − log(1 − p_c) of every class c under the softmax of logits `(N, K)`, in float64: `(N, K)`."""
    logits = logits.double()
    classes = [torch.full((len(logits),), label) for label in range(logits.shape[1])]
    return torch.stack([log_odds_of(logits, label) for label in classes], dim=1)
