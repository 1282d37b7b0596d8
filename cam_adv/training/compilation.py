"""`torch.compile` for the duration of a training or an attack."""

from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from cam_adv.models.generators.base import Generator
from cam_adv.models.generators.pretrained import PretrainedGenerator

GRAPHS = 64
"""Limit of compiled graphs of one function. PyTorch counts all networks that are made of torch.nn.Sequential as one
function, and beyond its default limit, 8, runs without compiling."""


class Compilation(Callback):
    """Compiles the `networks` of a module for its training or attack, in every process that takes part.

    In place, so that the names of the weights stay the same. Undone at the end: compiled code ignores hooks that are
    registered later, and maps are captured by hooks.
    """

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if stage not in ("fit", "predict"):
            return
        torch._dynamo.config.recompile_limit = GRAPHS
        for part in _parts(module):
            part.compile(dynamic=True if stage == "predict" else None)  # samples that rest leave an attack's batch

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        for part in _parts(module):
            part._compiled_call_impl = None  # PyTorch has no public way back


def _parts(module: LightningModule) -> Iterator[nn.Module]:
    """What is called as a whole: a network, or the parts of a generator and of its decoder."""
    networks = getattr(module, "networks", None)
    for network in [module.network] if networks is None else networks:
        assert isinstance(network, nn.Module)
        yield from network.children() if isinstance(network, Generator) else [network]
        if isinstance(network, PretrainedGenerator):
            yield from network.decoder.children()
