"""The freedom that a softmax leaves: CAM of one class can be changed at will without changing any answer.

One vector v added to every row of the last layer adds v·mean(A) to every logit, which the softmax does not see. But
CAM_y becomes CAM_y + Σ_k v_k A_k. CAM_y − CAM_y' stays as it is: v leaves with the difference.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn


@torch.no_grad()
def regauged(linear: nn.Linear, vector: Tensor) -> nn.Linear:
    """A copy of a linear layer with `vector` `(K,)` added to each row of its weight."""
    changed = deepcopy(linear)
    changed.weight += vector
    return changed


def reversing_vector(linear: nn.Linear, label: int) -> Tensor:
    """The v that turns CAM of class `label` into its negative: −2 w_label, `(K,)`."""
    return -2 * linear.weight[label].detach()
