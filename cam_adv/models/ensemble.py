"""An ensemble of classifiers, and the product of experts that combines their probabilities."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Named classifiers; the probabilities of the ensemble are the `product_of_experts` of its members' softmax."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)

    def member_probs(self, images: Tensor) -> Tensor:
        """Softmax of each member, `(M, N, K)`, for images `(N, C, H, W)` in [0, 1]."""
        return torch.stack([member(images).softmax(dim=1) for member in self.members.values()])

    def probs(self, images: Tensor) -> Tensor:
        """Probabilities of the ensemble, `(N, K)`; see `product_of_experts`."""
        return product_of_experts(self.member_probs(images), dim=0)


def product_of_experts(members: Tensor, dim: int) -> Tensor:
    """The geometric mean of probabilities over the members' dimension, normalised to sum to 1 over the classes.

    A class to which one member gives probability 0 gets probability 0: unlike in the arithmetic mean, confident
    members do not outvote an uncertain one (product of experts, Hinton 2002).

    Args:
        members: probabilities, with the classes in the last dimension.
        dim: the dimension of the members.
    """
    lowest = torch.finfo(members.dtype).tiny  # keeps the logarithm finite where a softmax has underflowed to 0
    return members.clamp(min=lowest).log().mean(dim=dim).softmax(dim=-1)
