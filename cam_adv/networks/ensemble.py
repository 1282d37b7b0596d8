"""Several classifiers that answer as one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Named classifiers; the ensemble's probability is `joint` of its members' softmax."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)

    def member_probs(self, images: Tensor) -> Tensor:
        """Softmax of each member, `(M, N, K)`, for images `(N, C, H, W)` in [0, 1]."""
        return torch.stack([member(images).softmax(dim=1) for member in self.members.values()])

    def probs(self, images: Tensor) -> Tensor:
        """What the members say together, `(N, K)`; see `joint`."""
        return joint(self.member_probs(images), dim=0)


def joint(members: Tensor, dim: int) -> Tensor:
    """The geometric mean of probabilities over the dimension of the members, made to sum to 1 over the classes.

    A class that one member rules out is ruled out: unlike the arithmetic mean, sure members don't outvote a doubtful
    one (product of experts, Hinton 2002).

    Args:
        members: probabilities, the last dimension that of the classes.
        dim: that of the members.
    """
    lowest = torch.finfo(members.dtype).tiny  # a softmax that has underflowed to 0 has a logarithm all the same
    return members.clamp(min=lowest).log().mean(dim=dim).softmax(dim=-1)
