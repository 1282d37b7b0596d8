"""The state of the networks during an attack."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from cam_adv.models.modes import eval_mode, gradients_enabled


@contextmanager
def attack_mode(networks: nn.Module) -> Iterator[None]:
    """Enable gradients, see `gradients_enabled`, but not for weights; set every network to evaluation mode.

    Modes and `requires_grad` are restored afterwards.
    """
    tracked = [weight for weight in networks.parameters() if weight.requires_grad]
    networks.requires_grad_(False)
    try:
        with eval_mode(networks), gradients_enabled():
            yield
    finally:
        for weight in tracked:
            weight.requires_grad_(True)
