"""The state of the networks during an attack."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cam_adv.attributions.layer_target import eval_mode


@contextmanager
def attack_mode(networks: nn.Module) -> Iterator[None]:
    """Enable gradients, also inside `torch.no_grad`, but not for weights; set every network to evaluation mode.

    Modes and `requires_grad` are restored afterwards.
    """
    tracked = [weight for weight in networks.parameters() if weight.requires_grad]
    networks.requires_grad_(False)
    try:
        with eval_mode(networks), torch.enable_grad():
            yield
    finally:
        for weight in tracked:
            weight.requires_grad_(True)
