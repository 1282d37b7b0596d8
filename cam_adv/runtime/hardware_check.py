"""Whether the hardware that the config names is available."""

import os
import shutil

import torch

from cam_adv.errors import UserError
from cam_adv.runtime import distributed
from cam_adv.runtime.devices import uses_gpu
from cam_adv.schema.hardware import HardwareSettings

COMPILERS = ("g++", "clang++", "cl")


def check_hardware(hardware: HardwareSettings) -> None:
    """Refuse hardware that isn't there, and combinations that can't work.

    Raises:
        UserError: no GPU; more devices than a machine has, or another number than there are processes; several
            devices without a strategy, with a choice of one, or for trainings side by side; several machines on which
            no process was started; a precision that the device doesn't have; no compiler.
    """
    gpus = torch.cuda.device_count()
    if hardware.accelerator == "gpu" and gpus == 0:
        raise UserError(
            "hardware.accelerator=gpu, but PyTorch sees no GPU on this machine.",
            "Use hardware=cpu, or install a PyTorch build and driver that fit the GPU.",
        )
    on_gpu = uses_gpu(hardware)
    available = gpus if on_gpu else os.cpu_count() or 1
    if hardware.devices > available:
        raise UserError(
            f"hardware.devices={hardware.devices}, but this machine has {available} {'GPUs' if on_gpu else 'cores'}.",
            f"Set hardware.devices to {available} or less.",
        )
    if hardware.strategy == "single" and hardware.processes > 1:
        raise UserError(
            f"hardware.devices={hardware.devices} and hardware.nodes={hardware.nodes} need a strategy for several "
            "processes, but it is single.",
            "Use hardware=multi_gpu, hardware=cpu_ddp or hardware=slurm.",
        )
    if hardware.trainings not in ("auto", 1) and hardware.processes > 1:
        raise UserError(
            f"hardware.trainings={hardware.trainings} trains several models on one device, but "
            f"hardware.devices={hardware.devices} and hardware.nodes={hardware.nodes}.",
            "Use hardware.trainings=1, or one device.",
        )
    if hardware.precision == "16-mixed" and not on_gpu:
        raise UserError("hardware.precision=16-mixed needs a GPU.", "Use hardware.precision=bf16-mixed or 32-true.")
    _check_device(hardware, gpus if on_gpu else 0)
    _check_processes(hardware)
    if hardware.compile and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise UserError(
            "hardware.compile=true needs a C++ compiler, and there is none on this machine.",
            "Install g++ or clang++, or use hardware.compile=false.",
        )


def _check_device(hardware: HardwareSettings, gpus: int) -> None:
    if hardware.device == "first":
        return
    if gpus == 0:
        raise UserError(
            f"hardware.device={hardware.device} chooses a GPU, but this run is on the CPU.",
            "Use hardware.device=first.",
        )
    if hardware.processes > 1:
        raise UserError(
            f"hardware.device={hardware.device} chooses one GPU, but hardware.devices={hardware.devices} and "
            f"hardware.nodes={hardware.nodes}.",
            "Use hardware.device=first, or one device.",
        )
    if hardware.device != "idle" and hardware.device >= gpus:
        raise UserError(
            f"hardware.device={hardware.device}, but this machine has {gpus} GPUs.",
            f"Set hardware.device to first, to idle, or to a number from 0 to {gpus - 1}.",
        )


def _check_processes(hardware: HardwareSettings) -> None:
    """The processes that were started must be those that the config asks for."""
    environment = distributed.cluster_environment()
    if environment is None:
        if hardware.nodes > 1:
            raise UserError(
                f"hardware.nodes={hardware.nodes}, but no process was started on the other machines.",
                f"Use srun --kill-on-bad-exit --nodes={hardware.nodes} --ntasks-per-node={hardware.devices} cam-adv, "
                f"or torchrun --nnodes={hardware.nodes} --nproc-per-node={hardware.devices} -m cam_adv "
                "on each machine.",
            )
        return
    size = environment.world_size()
    machines = int(os.environ.get("GROUP_WORLD_SIZE", os.environ.get("SLURM_NNODES", 1)))
    if (hardware.nodes, hardware.processes) != (machines, size):
        raise UserError(
            f"{size} processes were started on {machines} machines, but hardware.devices={hardware.devices} (on each "
            f"machine) and hardware.nodes={hardware.nodes}.",
            f"Set hardware.devices={size // machines} and hardware.nodes={machines}, or start other processes.",
        )
    group = distributed.current_group()
    if size > 1 and group is None:
        raise UserError(
            f"{size} processes were started for one job of a sweep, each of which would run it.",
            "Give each job one task, hydra.launcher.tasks_per_node=1: it starts its own processes.",
        )
    if group is not None:
        group.check()
