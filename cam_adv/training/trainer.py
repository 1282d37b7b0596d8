"""Lightning trainers for the hardware of the config."""

import logging
import os
import signal
import warnings
from typing import Any, ClassVar

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from cam_adv.runtime import distributed as processes
from cam_adv.runtime.devices import gpu_index, uses_gpu
from cam_adv.runtime.progress import Progress
from cam_adv.runtime.start_method import use_known_start_method
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.training.checkpoints import AtomicCheckpointIO
from cam_adv.training.compilation import Compilation

# Lightning's reminders (devices found, loader workers, sharding) concern choices that this package makes itself.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"lightning\.")


def with_devices(hardware: HardwareSettings, useful: int) -> HardwareSettings:
    """The same hardware with at most `useful` devices; unchanged where a launcher has started the processes."""
    return (
        hardware
        if processes.current_group()
        else hardware.model_copy(update={"devices": min(hardware.devices, useful)})
    )


def make_trainer(hardware: HardwareSettings, **options: Any) -> Trainer:
    """A quiet Trainer on this hardware; `options` are Lightning's own.

    Several devices are the processes that torchrun or srun started, or else *spawned* ones that run one fit or
    predict and end. Lightning's default would start the whole command again in each process, in a sweep the whole
    sweep.
    """
    on_gpu = uses_gpu(hardware)
    return Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[gpu_index(hardware)] if on_gpu and hardware.processes == 1 else hardware.devices,
        num_nodes=hardware.nodes,
        strategy="auto" if hardware.processes == 1 else DDPStrategy(**_start(), find_unused_parameters=True),
        # The environment is given because Lightning would otherwise detect SLURM, which may have started one process.
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if hardware.processes == 1 else [])],
        # Batch statistics are those of the whole batch, as on one device. PyTorch can share them between GPUs only.
        sync_batchnorm=on_gpu and hardware.processes > 1,
        precision=hardware.precision,
        callbacks=[
            *options.pop("callbacks", ()),
            *([Compilation()] if hardware.compile else []),
            *([OwnSignalHandler()] if processes.current_group() else []),
        ],
        use_distributed_sampler=False,  # the data modules split the images themselves
        inference_mode=False,  # the predict step of an attack needs gradients
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def _start() -> dict[str, Any]:
    """The options by which a DDP strategy gets its processes."""
    current_group = processes.current_group()
    if current_group is not None:
        return {"cluster_environment": current_group.environment}
    # Lightning leaves the port of the last group of processes in the environment; a second use may collide.
    os.environ.pop("MASTER_PORT", None)
    use_known_start_method()
    return {"cluster_environment": LightningEnvironment(), "start_method": "spawn"}


class OwnSignalHandler(Callback):
    """Keeps this process's handler of SIGTERM.

    Lightning puts one before it that sends to all processes: where one of them has ended, that raises an error of the
    network library at any place in the code, and what is there may take it for an error of its own.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGTERM, self._handler)

    on_validation_start = on_test_start = on_predict_start = on_train_start


class TrainingProgress(Callback):
    """The progress of a whole training: epochs done, and the latest validation metrics.

    line: of the terminal, counted from the cursor; processes that train side by side have one each.
    """

    line: ClassVar[int | None] = None

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert trainer.max_epochs is not None
        self.progress = Progress(
            self.title, trainer.max_epochs, "epochs", trainer.current_epoch, self.line, trainer.is_global_zero
        )

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        metrics = (f"{name} {value:.4g}" for name, value in trainer.progress_bar_metrics.items())
        self.progress.update(trainer.current_epoch + 1, ", ".join(metrics))

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.progress.close()
