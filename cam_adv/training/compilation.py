"""`torch.compile` while a Trainer is at work, and not a moment longer."""

from collections.abc import Iterator

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from cam_adv.networks.svae import SVAE


class Compilation(Callback):
    """Compiles the `networks` of a module for its training or attack, in whichever process that is.

    In place: names of weights stay as they are. Undone at the end, because compiled code passes over hooks that come
    later, and maps are caught by hooks.
    """

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if stage in ("fit", "predict"):
            for part in _parts(module):
                part.compile()

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        for part in _parts(module):
            part._compiled_call_impl = None  # PyTorch has no public way back


def _parts(module: LightningModule) -> Iterator[nn.Module]:
    """What is called as a whole: a network, or the parts of a generator."""
    for network in module.networks:
        yield from network.children() if isinstance(network, SVAE) else [network]
