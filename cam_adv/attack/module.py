"""The attack as a Lightning predict step: one batch of images in, one file of results out."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from safetensors import SafetensorError
from torch import nn
from tqdm import tqdm

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.pixel_attack import PixelAttack
from cam_adv.attack.result import AttackResult, concatenate, load_tensors, save_tensors
from cam_adv.attack.selection import Selection
from cam_adv.data.splits import LabelledImages

Attack = LatentAttack | PixelAttack

Batch = tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]
"""Number of the batch, images `(n, C, H, W)` in [0, 1], labels `(n,)`, targets `(n,)`."""


SECONDS = "seconds"
"""Under which the file of a batch keeps how long the batch took."""


def batch_file(folder: Path, number: int) -> Path:
    """Where the results of a batch are kept until all are there."""
    return folder / f"batch_{number:05d}.safetensors"


class AttackModule(LightningModule):
    """Runs the attack on each batch and writes its result to a file of its own, whichever process has it."""

    def __init__(self, attack: Attack, folder: Path) -> None:
        """`folder`: where the files go."""
        super().__init__()
        self.attack = attack
        self.folder = folder

    @property
    def networks(self) -> list[nn.Module]:
        """What `hardware.compile` compiles."""
        return self.attack.networks

    def predict_step(self, batch: Batch, batch_index: int) -> None:
        number, x, y, target = batch
        started = time.perf_counter()
        total = self.attack.settings.steps_per_start * len(self.attack.settings.starts)
        with tqdm(
            total=total,
            desc=f"attack, batch {number + 1} of {len(self.trainer.datamodule.numbers())}",
            unit="step",
            disable=not self.trainer.is_global_zero,
        ) as bar:

            def on_step(step: int, active: int) -> None:
                bar.set_postfix(walking=active, refresh=False)
                bar.update(step - bar.n)

            result = self.attack(x, y, target, on_step)
        # The processes walk at the same time: each batch takes its share of it.
        seconds = torch.tensor((time.perf_counter() - started) / self.trainer.world_size, dtype=torch.float64)
        save_tensors(result.tensors() | {SECONDS: seconds}, batch_file(self.folder, number))


class AttackDataModule(LightningDataModule):
    """The selected images in batches that do not depend on how many processes share them."""

    def __init__(self, data: LabelledImages, selection: Selection, batch_size: int, folder: Path) -> None:
        """`folder`: where the results of the batches are found, by now those of an interrupted attack."""
        super().__init__()
        # Where others started the processes there may be more of them than batches.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.data = data
        self.selection = selection
        self.batch_size = batch_size
        self.folder = folder
        done = {number: self._seconds(number) for number in self.numbers()}
        self.left = [number for number, seconds in done.items() if seconds is None]
        self.seconds_done = sum(seconds for seconds in done.values() if seconds is not None)

    def numbers(self) -> range:
        """All batches; `left` are those that are still to be done, as this object was made."""
        return range(-(-len(self.selection) // self.batch_size))

    def predict_dataloader(self) -> "Shard":
        return Shard(self, self.left[self.trainer.global_rank :: self.trainer.world_size])

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

    def _seconds(self, number: int) -> float | None:
        """How long a batch that is done took; None for one that isn't, or whose file can't be read."""
        try:
            tensors = load_tensors(batch_file(self.folder, number))
            AttackResult.from_tensors(tensors)
            return float(tensors[SECONDS])
        except (FileNotFoundError, SafetensorError, KeyError):
            return None


class Shard:
    """The batches of one process, as Lightning iterates over them: it asks for a length and an iterator."""

    def __init__(self, data: AttackDataModule, numbers: Sequence[int]) -> None:
        self.data = data
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        return (self.data.batch(number) for number in self.numbers)
