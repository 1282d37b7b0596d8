"""The attack as a Lightning predict step: one batch of images in, one file of results out."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from safetensors import SafetensorError
from torch import nn

from cam_adv.attacks.base import BoundAttack
from cam_adv.attacks.result import AttackResult, concatenate
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.runtime.progress import Progress
from cam_adv.runtime.tensor_files import load_tensors, save_tensors

Batch = tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]
"""Number of the batch, images `(n, C, H, W)` in [0, 1], labels `(n,)`, targets `(n,)`."""


SECONDS = "seconds"
"""Name of the duration in the file of a batch."""


def batch_file(folder: Path, number: int) -> Path:
    """The file with the result of a batch, kept until all batches are done."""
    return folder / f"batch_{number:05d}.safetensors"


class AttackModule(LightningModule):
    """Attacks each batch and writes the result to one file for each batch, in whichever process."""

    def __init__(self, attack: BoundAttack, batches: int, folder: Path) -> None:
        """
        Args:
            batches: their number, including those that are done.
            folder: for the files.
        """
        super().__init__()
        self.attack = attack
        self.batches = batches
        self.folder = folder

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that `hardware.compile` compiles."""
        return self.attack.networks

    @property
    def steps(self) -> int:
        """The largest number of steps that a batch takes."""
        return self.attack.attack.steps_per_init * len(self.attack.attack.start_names)

    def on_predict_start(self) -> None:
        batches = self.trainer.predict_dataloaders
        assert isinstance(batches, BatchShard)  # see AttackDataModule.predict_dataloader
        title, shown = f"attack {self.attack.attack.name}", self.trainer.is_global_zero
        self.progress = Progress(title, self.steps * len(batches), "steps", shown=shown)

    def on_predict_end(self) -> None:
        self.progress.close()

    def predict_step(self, batch: Batch, batch_index: int) -> None:
        number, x, y, target = batch
        started = time.perf_counter()
        before, place = batch_index * self.steps, f"batch {number + 1} of {self.batches}"

        def on_step(step: int, active: int) -> None:
            self.progress.update(before + step, f"{place}, {active} active")

        try:
            result = self.attack(x, y, target, on_step)
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(
                f"A batch of {len(x)} attacked images does not fit into the GPU's memory.",
                f"Set attack.batch_size={max(1, len(x) // 2)}, or less.",
            ) from error
        self.progress.update(before + self.steps, place)
        # The processes attack at the same time, so each batch counts for its share of that time.
        seconds = torch.tensor((time.perf_counter() - started) / self.trainer.world_size, dtype=torch.float64)
        save_tensors(result.tensors() | {SECONDS: seconds}, batch_file(self.folder, number))


class AttackDataModule(LightningDataModule):
    """The selected images in batches that do not depend on the number of processes."""

    def __init__(self, data: LabelledImages, selection: Selection, batch_size: int, folder: Path) -> None:
        """`folder`: has the files of the batches that an interrupted attack has done."""
        super().__init__()
        # A launcher such as torchrun may have started more processes than there are batches.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.data = data
        self.selection = selection
        self.batch_size = batch_size
        self.folder = folder
        done = {number: self._seconds(number) for number in self.numbers()}
        self.left = [number for number, seconds in done.items() if seconds is None]
        self.seconds_done = sum(seconds for seconds in done.values() if seconds is not None)

    def numbers(self) -> range:
        """All batches; `left` are those that were not done when this object was created."""
        return range(-(-len(self.selection) // self.batch_size))

    def predict_dataloader(self) -> "BatchShard":
        trainer = self._attached_trainer
        return BatchShard(self, self.left[trainer.global_rank :: trainer.world_size])

    def batch(self, number: int) -> Batch:
        """One batch, on the device of this process."""
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        device = self._attached_trainer.strategy.root_device
        x = to_unit_range(self.data.images[self.selection.index[rows]].to(device))
        return number, x, self.selection.y[rows].to(device), self.selection.target[rows].to(device)

    def results(self) -> AttackResult:
        """The results of all batches in order, once all files exist."""
        files = (batch_file(self.folder, number) for number in self.numbers())
        parts = (AttackResult.from_tensors(load_tensors(file)) for file in files)
        return concatenate(parts, len(self.selection))

    @property
    def _attached_trainer(self) -> Trainer:
        assert self.trainer is not None  # Lightning sets it before it calls the methods of loaders
        return self.trainer

    def _seconds(self, number: int) -> float | None:
        """The seconds that a batch took; None if it is not done or its file can't be read."""
        try:
            tensors = load_tensors(batch_file(self.folder, number))
            AttackResult.from_tensors(tensors)
            return float(tensors[SECONDS])
        except (FileNotFoundError, SafetensorError, KeyError):
            return None


class BatchShard:
    """The batches of one process, with the length and the iterator that Lightning needs of a data loader."""

    def __init__(self, data: AttackDataModule, numbers: Sequence[int]) -> None:
        self.data = data
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        return (self.data.batch(number) for number in self.numbers)
