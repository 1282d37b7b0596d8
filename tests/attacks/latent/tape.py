"""A CUDA graph for the CPU: records the operations of a function of tensors, and repeats them without its Python."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.lift_fresh,
}
"""Operations that copy between a GPU and the CPU and wait for it: the last one makes a tensor of Python numbers."""


class Tape(TorchDispatchMode):
    """Notes every operation, with its arguments and its results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.waiting: list[str] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._new: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        masks = function.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if function.overloadpacket in WAITING or masks:
            self.waiting.append(str(function))
        for tensor in _written(function, args, kwargs):
            memory = tensor.untyped_storage().data_ptr()
            if memory not in self._new and memory not in self._before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self._before[memory] = whole, whole.clone()
        result = function(*args, **kwargs)
        self._new |= {each.untyped_storage().data_ptr() for each in tree_iter(result) if isinstance(each, Tensor)} - {
            each.untyped_storage().data_ptr() for each in tree_iter((args, kwargs)) if isinstance(each, Tensor)
        }
        self.calls.append((function, args, kwargs, result))
        return result

    def undo(self) -> None:
        """Give all memory that existed before the values that it had."""
        for whole, values in self._before.values():
            whole.copy_(values)

    def replay(self) -> None:
        """Do all operations again, on the same memory."""
        with torch.no_grad():
            for function, args, kwargs, result in self.calls:
                if list(_written(function, args, kwargs)):
                    function(*args, **kwargs)
                elif not _is_view(function):
                    again = function(*args, **kwargs)
                    for old, new in zip(tree_iter(result), tree_iter(again), strict=True):
                        if isinstance(old, Tensor):
                            old.copy_(new)


class TapeRecorder:
    """See `cam_adv.attacks.latent.recorded_steps.Recorder`."""

    def __init__(self) -> None:
        self.recordings = self.replays = 0

    def waits(self, work: Callable[[], None]) -> bool:
        with Tape() as tape:
            work()
        return bool(tape.waiting)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with Tape() as tape:
            work()
        assert not tape.waiting
        tape.undo()
        self.recordings += 1

        def replay() -> None:
            self.replays += 1
            tape.replay()

        return replay


def _written(function: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    for argument, value in zip(function._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield value
    for argument in function._schema.arguments:
        if argument.name in kwargs and argument.alias_info is not None and argument.alias_info.is_write:
            yield kwargs[argument.name]


def _is_view(function: Any) -> bool:
    return any(result.alias_info is not None for result in function._schema.returns)
