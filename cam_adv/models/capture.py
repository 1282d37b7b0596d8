"""Inputs and outputs of a network's modules during a forward pass, by hooks that are removed afterwards."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

from torch import Tensor, nn


class ModuleCall(NamedTuple):
    """One call of a module: its positional inputs and its output, with their autograd history."""

    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any


@contextmanager
def record_calls(modules: Iterable[nn.Module]) -> Iterator[list[ModuleCall]]:
    """A list that fills with every call of the modules, in the order in which the calls end.

    It holds the tensors themselves: what a later layer changes in place is seen as changed.
    """
    calls: list[ModuleCall] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append(ModuleCall(module, inputs, output))

    handles = [module.register_forward_hook(record) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def edit_maps(layer: nn.Module, at_input: bool, edit: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `edit` with the maps `(N, K, h, w)` that a layer puts out, at each of its calls.

    Args:
        at_input: with the maps that it takes in instead.
        edit: the tensor that it returns, if any, goes on in place of the maps.
    """

    def edit_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        edited = edit(inputs[0]) if inputs and is_maps(inputs[0]) else None
        return None if edited is None else (edited, *inputs[1:])

    def edit_output(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        return edit(output) if is_maps(output) else None

    handle = layer.register_forward_pre_hook(edit_input) if at_input else layer.register_forward_hook(edit_output)
    try:
        yield
    finally:
        handle.remove()


def is_maps(value: object) -> TypeGuard[Tensor]:
    """Whether this is a tensor `(N, K, h, w)`."""
    return isinstance(value, Tensor) and value.dim() == 4
