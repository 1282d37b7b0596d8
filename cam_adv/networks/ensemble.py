"""Several classifiers that answer as one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Named classifiers; the ensemble's probability is the mean of its members' softmax."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)

    def member_probs(self, images: Tensor) -> Tensor:
        """Softmax of each member, `(M, N, K)`, for images `(N, C, H, W)` in [0, 1]."""
        return torch.stack([member(images).softmax(dim=1) for member in self.members.values()])

    def probs(self, images: Tensor) -> Tensor:
        """Mean softmax of the members, `(N, K)`."""
        return self.member_probs(images).mean(dim=0)
