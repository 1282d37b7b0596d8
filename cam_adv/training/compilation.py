"""`torch.compile` while a Trainer is at work, and not a moment longer."""

from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from cam_adv.networks.svae import SVAE

GRAPHS = 64
"""Compiled forms of one function. All networks that are made of torch.nn.Sequential count as one function to PyTorch,
which beyond its own limit, 8, goes on without compiling."""


class Compilation(Callback):
    """Compiles the `networks` of a module for its training or attack, in whichever process that is.

    In place: names of weights stay as they are. Undone at the end, because compiled code passes over hooks that come
    later, and maps are caught by hooks.
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
    """What is called as a whole: a network, or the parts of a generator."""
    for network in module.networks:
        yield from network.children() if isinstance(network, SVAE) else [network]
