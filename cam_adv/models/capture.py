"""Inputs and outputs of a network's modules during a forward pass, by hooks that are removed afterwards."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

ForwardHook = Callable[[nn.Module, tuple[Any, ...], Any], Tensor | None]
"""Module, positional inputs and output of one call; a tensor that it returns replaces the output."""


class ModuleCall(NamedTuple):
    """One call of a module: its positional inputs and its output, with their autograd history."""

    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any


@contextmanager
def forward_hook(modules: Iterable[nn.Module], hook: ForwardHook) -> Iterator[None]:
    """Run `hook` after every call of the modules; all hooks are removed on exit, errors included."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def record_calls(modules: Iterable[nn.Module]) -> Iterator[list[ModuleCall]]:
    """A list that fills with every call of the modules, in the order in which the calls end."""
    calls: list[ModuleCall] = []
    with forward_hook(modules, lambda module, inputs, output: calls.append(ModuleCall(module, inputs, output))):
        yield calls
