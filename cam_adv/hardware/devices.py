"""The device that a process computes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cam_adv.hardware.claims import claimed, claims_folder
from cam_adv.settings import HardwareSettings


def uses_gpu(hardware: HardwareSettings) -> bool:
    """Whether the work goes to a GPU: where one is asked for, or one is there and the choice is left open."""
    return hardware.accelerator == "gpu" or (hardware.accelerator == "auto" and torch.cuda.is_available())


def main_device(hardware: HardwareSettings) -> torch.device:
    """Where this process evaluates: its GPU, or the CPU.

    Raises:
        ValueError: the placement is "free", and no device was claimed; see `placed`.
    """
    return torch.device("cuda", gpu_number(hardware)) if uses_gpu(hardware) else torch.device("cpu")


def gpu_number(hardware: HardwareSettings) -> int:
    """Which of the GPUs that PyTorch sees this process has."""
    if hardware.placement == "free":
        raise ValueError("no device was claimed")
    return 0 if hardware.placement == "first" else hardware.placement


@contextmanager
def placed(hardware: HardwareSettings) -> Iterator[HardwareSettings]:
    """The same hardware with a GPU's number for the placement "free", held for this process alone until the end."""
    if hardware.placement != "free":
        yield hardware
        return
    # Numbers depend on CUDA_VISIBLE_DEVICES, which may differ between two processes; a GPU's UUID doesn't.
    names = [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]
    with claimed(names, claims_folder()) as number:
        yield hardware.model_copy(update={"placement": number})
