"""The attack as a Lightning predict step: one batch of images in, one file of results out."""

from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from tqdm import tqdm

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.result import AttackResult, concatenate, load_tensors, save_tensors
from cam_adv.attack.selection import Selection
from cam_adv.data.splits import LabelledImages

Batch = tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]
"""Number of the batch, images `(n, C, H, W)` in [0, 1], labels `(n,)`, targets `(n,)`."""


def batch_file(folder: Path, number: int) -> Path:
    """Where the results of a batch are kept until all are there."""
    return folder / f"batch_{number:05d}.safetensors"


class AttackModule(LightningModule):
    """Runs the attack on each batch and writes its result to a file of its own, whichever process has it."""

    def __init__(self, attack: LatentAttack, folder: Path) -> None:
        """`folder`: where the files go."""
        super().__init__()
        self.attack = attack
        self.folder = folder

    @property
    def networks(self) -> list[nn.Module]:
        """What `hardware.compile` compiles."""
        return [self.attack.victim, self.attack.generator, *self.attack.proxies]

    def predict_step(self, batch: Batch, batch_index: int) -> None:
        number, x, y, target = batch
        total = self.attack.settings.steps * len(self.attack.settings.starts)
        with tqdm(
            total=total,
            desc=f"attack, batch {number + 1}",
            unit="step",
            disable=not self.trainer.is_global_zero,
        ) as bar:

            def on_step(step: int, active: int) -> None:
                bar.set_postfix(walking=active, refresh=False)
                bar.update(step - bar.n)

            result = self.attack(x, y, target, on_step)
        save_tensors(result.tensors(), batch_file(self.folder, number))


class AttackDataModule(LightningDataModule):
    """The selected images in batches that do not depend on how many processes share them."""

    def __init__(self, data: LabelledImages, selection: Selection, batch_size: int, folder: Path) -> None:
        """`folder`: where the results of the batches are found."""
        super().__init__()
        # Where others started the processes there may be more of them than batches.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.data = data
        self.selection = selection
        self.batch_size = batch_size
        self.folder = folder

    def numbers(self) -> range:
        """All batches."""
        return range(-(-len(self.selection) // self.batch_size))

    def predict_dataloader(self) -> "Shard":
        return Shard(self, self.numbers()[self.trainer.global_rank :: self.trainer.world_size])

    def batch(self, number: int) -> Batch:
        """One batch, on the device that attacks it."""
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        device = self.trainer.strategy.root_device
        x = self.data.images[self.selection.index[rows]].to(device).float() / 255
        return number, x, self.selection.y[rows].to(device), self.selection.target[rows].to(device)

    def results(self) -> AttackResult:
        """All batches' results in order, once each file is there."""
        files = [batch_file(self.folder, number) for number in self.numbers()]
        return concatenate([AttackResult.from_tensors(load_tensors(file)) for file in files])


class Shard:
    """The batches of one process, as Lightning iterates over them: it asks for a length and an iterator."""

    def __init__(self, data: AttackDataModule, numbers: range) -> None:
        self.data = data
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        return (self.data.batch(number) for number in self.numbers)
