"""The device that a process computes on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cam_adv.runtime.device_lock import device_lock, device_lock_folder
from cam_adv.schema.hardware import HardwareSettings

TRAININGS_ON_GPU = 4
"""What `hardware.trainings=auto` is on a GPU: one training of a small network leaves most of it idle."""


def uses_gpu(hardware: HardwareSettings) -> bool:
    """Whether a GPU is used: `accelerator` is "gpu", or it is "auto" and there is one."""
    return hardware.accelerator == "gpu" or (hardware.accelerator == "auto" and torch.cuda.is_available())


def main_device(hardware: HardwareSettings) -> torch.device:
    """The device on which this process evaluates: its GPU, or the CPU.

    Raises:
        ValueError: `device` is "idle", and none was acquired; see `acquire_device`.
    """
    return torch.device("cuda", gpu_index(hardware)) if uses_gpu(hardware) else torch.device("cpu")


def gpu_index(hardware: HardwareSettings) -> int:
    """The index of this process's GPU among those that PyTorch sees.

    Raises:
        ValueError: `device` is "idle", and none was acquired.
    """
    if hardware.device == "idle":
        raise ValueError("no device was acquired")
    return 0 if hardware.device == "first" else hardware.device


@contextmanager
def acquire_device(hardware: HardwareSettings) -> Iterator[HardwareSettings]:
    """The same hardware, with "idle" replaced by the index of a GPU that is locked for this process inside."""
    if hardware.device != "idle":
        yield hardware
        return
    # Indices depend on CUDA_VISIBLE_DEVICES, which may differ between two processes; a GPU's UUID doesn't.
    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    with device_lock(uuids, device_lock_folder()) as index:
        yield hardware.model_copy(update={"device": index})


def concurrent_trainings(hardware: HardwareSettings) -> int:
    """How many models of a run are trained at the same time."""
    if hardware.trainings != "auto":
        return hardware.trainings
    return min(TRAININGS_ON_GPU, os.cpu_count() or 1) if uses_gpu(hardware) and hardware.processes == 1 else 1
