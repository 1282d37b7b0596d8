"""The state in which networks compute: evaluation mode, and gradients wherever they are needed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode inside the context; on exit every module gets back the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Record gradients, also inside `torch.no_grad` and `torch.inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def without_history(tensor: Tensor) -> Tensor:
    """The tensor without its autograd history; a copy of one made in `torch.inference_mode`, which autograd refuses.

    To be called inside `gradients_enabled`.
    """
    detached = tensor.detach()
    return detached.clone() if detached.is_inference() else detached
