"""Steps of an attack on a GPU, recorded as CUDA graphs: to launch their many small operations one by one takes longer
than to compute them."""

import logging
import warnings
from collections.abc import Callable, Hashable
from typing import Protocol

import torch

log = logging.getLogger(__name__)


WAITED = "called a synchronizing"
"""PyTorch's warning of an operation that waits. It also warns, once, that it does not find all of them."""


class Recorder(Protocol):
    """Records the operations of a function of tensors that are always in the same memory."""

    def waits(self, work: Callable[[], None]) -> bool:
        """Call `work` once; whether it waited for the device, so that it can't be recorded."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the operations of `work` without doing them; a function that does them."""
        ...


class CUDAGraphRecorder:
    """Records CUDA graphs, whose intermediate results share their memory."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def waits(self, work: Callable[[], None]) -> bool:
        """See `Recorder.waits`."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        return any(WAITED in str(warning.message) for warning in caught)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        return graph.replay


class RecordedSteps:
    """Does steps by calling a function, and from the second step of a kind on by repeating what was recorded of it.

    The very first call prepares libraries and allocates what lasts. The first of each other kind finds out whether
    the step waits for the device; where one does, because a network looks at its own values, none is recorded.
    """

    def __init__(self, work: Callable[[], None], recorder: Recorder | None) -> None:
        """`recorder`: None to call `work` each time, as on a CPU."""
        self._work, self._recorder = work, recorder
        self._called: set[Hashable] = set()
        self._recorded: dict[Hashable, Callable[[], None]] = {}

    def __call__(self, kind: Hashable) -> None:
        """Do a step. `kind`: steps of one kind consist of the same operations on tensors of the same shapes."""
        if self._recorder is None or not self._called:
            self._called.add(kind)
            self._work()
        elif kind not in self._called:
            self._called.add(kind)
            if self._recorder.waits(self._work):
                log.info("A network waits for the GPU, so that steps can't be recorded as CUDA graphs.")
                self._recorder = None
        else:
            if kind not in self._recorded:
                self._recorded[kind] = self._recorder.record(self._work)
            self._recorded[kind]()

    def forget(self) -> None:
        """Forget what was recorded, since the tensors of a step have changed."""
        self._recorded.clear()
        self._called.clear()
