"""The speed of this machine, and the work and memory of a computation."""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cam_adv.errors import UserError

MATRIX_SIZE = 2048
REPEATS = 7


def matmul_flops_per_second(device: torch.device | None = None) -> float:
    """Floating-point operations per second in the fastest of several products of 2048×2048 float32 matrices."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(MATRIX_SIZE, MATRIX_SIZE, generator=generator).to(device) for _ in range(2))
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        left @ right
        if left.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX_SIZE**3 / best


class _FlopCounter(TorchDispatchMode):
    """A replacement for PyTorch's `FlopCounterMode`, which hooks into modules and fails with `autograd.grad`."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def count_flops(work: Callable[[], object]) -> float:
    """Floating-point operations of the convolutions and matrix products in `work`, forward and backward."""
    with _FlopCounter() as counter:
        work()
    return counter.total


def peak_memory() -> float:
    """The peak resident memory in bytes of this process, or of a child process that has ended if that is larger.

    Raises:
        UserError: on Windows.
    """
    if sys.platform == "win32":
        raise UserError(
            "The benchmark measures memory with getrusage, which Windows doesn't have.",
            "Run it on Linux or macOS, or in the Windows Subsystem for Linux.",
        )
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
