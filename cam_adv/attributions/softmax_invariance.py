"""The invariance of the softmax: the CAM of one class can be changed arbitrarily without changing any probability.

One vector v added to every row of the last layer's weight adds v·mean(A) to every logit, which leaves the softmax
unchanged. But CAM_y becomes CAM_y + Σ_k v_k A_k. CAM_y − CAM_y' is unchanged: v cancels in the difference.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn


@torch.no_grad()
def with_row_offset(linear: nn.Linear, vector: Tensor) -> nn.Linear:
    """A copy of a linear layer with `vector` `(K,)` added to each row of its weight."""
    changed = deepcopy(linear)
    changed.weight += vector
    return changed


def negating_offset(linear: nn.Linear, label: int) -> Tensor:
    """The v that turns the CAM of class `label` into its negative: −2 w_label, `(K,)`."""
    return -2 * linear.weight[label].detach()
