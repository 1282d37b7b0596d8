"""What holds while images are attacked, whatever the attack."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.explanation.subject import as_in_use


@contextmanager
def attacking(networks: nn.Module, x: Tensor) -> Iterator[None]:
    """Images `(N, C, H, W)` can have gradients and weights get none; evaluation mode for every network.

    All is put back afterwards: the networks are the caller's.

    Raises:
        UserError: pixels outside [0, 1].
    """
    if not ((x >= 0) & (x <= 1)).all():
        raise UserError("The images have pixels outside [0, 1].", "Divide 8-bit pixels by 255.")
    with frozen(networks), torch.enable_grad():
        yield


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients for weights, both put back afterwards."""
    tracked = [weight for weight in module.parameters() if weight.requires_grad]
    module.requires_grad_(False)
    try:
        with as_in_use(module):
            yield
    finally:
        for weight in tracked:
            weight.requires_grad_(True)
