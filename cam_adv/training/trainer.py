"""Lightning trainers for the hardware that the config names."""

import logging
import os
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from tqdm import tqdm

from cam_adv.errors import UserError
from cam_adv.settings import HardwareSettings

# Lightning's own reminders (devices found, loader workers, sharding) are about choices that this package makes.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"lightning\.")


def check_hardware(hardware: HardwareSettings) -> None:
    """Refuse hardware that this machine hasn't got.

    Raises:
        UserError: no GPU, more devices than there are, or a precision that the device hasn't got.
    """
    gpus = torch.cuda.device_count()
    if hardware.accelerator == "gpu" and gpus == 0:
        raise UserError(
            "hardware.accelerator=gpu, but PyTorch sees no GPU on this machine.",
            "Use hardware=cpu, or install a PyTorch build and driver that fit the GPU.",
        )
    on_gpu = uses_gpu(hardware)
    there = gpus if on_gpu else os.cpu_count() or 1
    if hardware.devices > there:
        raise UserError(
            f"hardware.devices={hardware.devices}, but this machine has {there} {'GPUs' if on_gpu else 'cores'}.",
            f"Set hardware.devices to {there} or less.",
        )
    if hardware.strategy == "single" and hardware.devices > 1:
        raise UserError(
            f"hardware.devices={hardware.devices} needs a strategy for several processes, but it is single.",
            "Use hardware=multi_gpu or hardware=cpu_ddp.",
        )
    if hardware.precision == "16-mixed" and not on_gpu:
        raise UserError("hardware.precision=16-mixed needs a GPU.", "Use hardware.precision=bf16-mixed or 32-true.")


def uses_gpu(hardware: HardwareSettings) -> bool:
    """Whether the work goes to a GPU: where one is asked for, or one is there and the choice is left open."""
    return hardware.accelerator == "gpu" or (hardware.accelerator == "auto" and torch.cuda.is_available())


def main_device(hardware: HardwareSettings) -> torch.device:
    """Where this process evaluates: the first GPU, or the CPU."""
    return torch.device("cuda", 0) if uses_gpu(hardware) else torch.device("cpu")


def with_devices(hardware: HardwareSettings, useful: int) -> HardwareSettings:
    """The same hardware with no more devices than have something to do."""
    devices = min(hardware.devices, useful)
    return hardware.model_copy(
        update={"devices": devices, "strategy": hardware.strategy if devices > 1 else "single"}
    )


def make_trainer(hardware: HardwareSettings, **options: Any) -> Trainer:
    """A quiet Trainer on this hardware; `options` are Lightning's own.

    Several devices are several *spawned* processes that run one fit or predict and end. Lightning's
    default would start the whole command again in each, which inside a Hydra sweep starts a second sweep.
    """
    return Trainer(
        accelerator="gpu" if uses_gpu(hardware) else "cpu",
        devices=hardware.devices,
        strategy="auto"
        if hardware.strategy == "single"
        else DDPStrategy(start_method="spawn", find_unused_parameters=True),
        precision=hardware.precision,
        use_distributed_sampler=False,  # the loaders deal out their own shards
        inference_mode=False,  # an attack needs gradients in its predict step
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


class TrainingProgress(Callback):
    """One line for a whole training: epochs done, and the latest validation figures."""

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.bar = tqdm(
            total=trainer.max_epochs,
            initial=trainer.current_epoch,
            desc=self.title,
            unit="epoch",
            disable=not trainer.is_global_zero,
        )

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        figures = {name: f"{value:.4g}" for name, value in trainer.progress_bar_metrics.items()}
        self.bar.set_postfix(figures, refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.bar.close()
