"""What this machine can do at most, and how much work something is."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

SIDE = 2048
REPEATS = 7


def matrix_rate() -> float:
    """Floating-point operations a second in the best of some products of two 2048 x 2048 matrices in float32."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best


class _Counter(TorchDispatchMode):
    """Counts where PyTorch's own `FlopCounterMode` can't: it follows modules, and `autograd.grad` stops it."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of the convolutions and matrix products in `work`, forward and backward."""
    with _Counter() as counter:
        work()
    return counter.total


def peak_memory() -> float:
    """The most that this process, or one that it started and saw end, has had in memory so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
