"""How much the victim takes pictures for each class."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attack.multiplier import log_odds_of
from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import ImageSplits
from cam_adv.networks.predictions import in_batches


@dataclass(frozen=True)
class Scores:
    """The victim's log-odds of every class in float64, `(n, K)`: of validation and test images, of x and of each x'.

    Log-odds keep apart what probabilities round to 1.
    """

    validation: Tensor
    test: Tensor
    attacked: dict[str, Tensor]

    @classmethod
    def of(
        cls, victim: nn.Module, splits: ImageSplits, results: Mapping[str, AttackResult], device: torch.device
    ) -> "Scores":
        """Ask the victim, an attack's result by its name."""

        def score(images: Tensor) -> Tensor:
            return log_odds(in_batches(victim.to(device), images, device))

        attacked = {name: score(result.x_adv) for name, result in results.items()}
        return cls(score(splits.validation.images), score(splits.test.images), attacked)

    def tensors(self) -> dict[str, Tensor]:
        """As `scores.safetensors` keeps them."""
        attacked = {f"attack {name}": scores for name, scores in self.attacked.items()}
        return {"validation": self.validation, "test": self.test} | attacked


def log_odds(logits: Tensor) -> Tensor:
    """log p_c − log(1 − p_c) of every class c under the softmax of logits `(N, K)`, in float64: `(N, K)`."""
    logits = logits.double()
    classes = [torch.full((len(logits),), label) for label in range(logits.shape[1])]
    return torch.stack([log_odds_of(logits, label) for label in classes], dim=1)
