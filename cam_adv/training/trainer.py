"""Lightning trainers for the hardware that the config names."""

import logging
import os
import warnings
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from tqdm import tqdm

from cam_adv.hardware import processes
from cam_adv.hardware.devices import gpu_number, uses_gpu
from cam_adv.settings import HardwareSettings
from cam_adv.training.checkpoints import WholeCheckpoints
from cam_adv.training.compilation import Compilation

# Lightning's own reminders (devices found, loader workers, sharding) are about choices that this package makes.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"lightning\.")


def with_devices(hardware: HardwareSettings, useful: int) -> HardwareSettings:
    """The same hardware with no more devices than have something to do, where it is up to this process."""
    return hardware if processes.company() else hardware.model_copy(update={"devices": min(hardware.devices, useful)})


def make_trainer(hardware: HardwareSettings, **options: Any) -> Trainer:
    """A quiet Trainer on this hardware; `options` are Lightning's own.

    Several devices are the processes that torchrun or srun started, or else *spawned* ones that run one fit or
    predict and end. Lightning's default would start the whole command again in each: in a sweep a second sweep.
    """
    on_gpu = uses_gpu(hardware)
    return Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[gpu_number(hardware)] if on_gpu and hardware.processes == 1 else hardware.devices,
        num_nodes=hardware.nodes,
        strategy="auto" if hardware.processes == 1 else DDPStrategy(**_start(), find_unused_parameters=True),
        # The environment also where SLURM started one process.
        plugins=[WholeCheckpoints(), *([LightningEnvironment()] if hardware.processes == 1 else [])],
        # The statistics of a whole batch, as one device has them. PyTorch shares them between GPUs only.
        sync_batchnorm=on_gpu and hardware.processes > 1,
        precision=hardware.precision,
        callbacks=[*options.pop("callbacks", ()), *([Compilation()] if hardware.compile else [])],
        use_distributed_sampler=False,  # the loaders deal out their own shards
        inference_mode=False,  # an attack needs gradients in its predict step
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def _start() -> dict[str, Any]:
    """How a strategy comes by its processes."""
    company = processes.company()
    if company is not None:
        return {"cluster_environment": company.environment}
    # Lightning leaves the port at which the last processes met in the environment, for whoever comes next to collide.
    os.environ.pop("MASTER_PORT", None)
    return {"cluster_environment": LightningEnvironment(), "start_method": "spawn"}


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
