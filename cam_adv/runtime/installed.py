"""What is installed, and what a run would compute on."""

import os
import platform
import re
from importlib import metadata

import torch

from cam_adv.runtime.devices import concurrent_trainings, main_device
from cam_adv.schema.hardware import HardwareSettings

DISTRIBUTION = "cam-adv"
PACKAGES = (DISTRIBUTION, "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy", "pydantic")
"""Whose versions matter for a report of an error."""


def versions() -> dict[str, str]:
    """Of Python, the operating system and the packages that matter most."""
    system = {"Python": platform.python_version(), "system": platform.platform()}
    return system | {name: _version(name) or "not installed as a package" for name in PACKAGES}


def devices(hardware: HardwareSettings) -> dict[str, str]:
    """The devices of this machine, and what a run takes of them."""
    found = {"CPU": f"{os.cpu_count()} cores; PyTorch uses {torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        found[f"GPU {index}"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    device = "an idle GPU" if hardware.device == "idle" else str(main_device(hardware))
    number = "" if hardware.processes == 1 else f"{hardware.devices} devices on each of {hardware.nodes} machines, "
    side_by_side = f"hardware.trainings={concurrent_trainings(hardware)}"
    return found | {"a run takes": f"{number}{device}, hardware.precision={hardware.precision}, {side_by_side}"}


def extras() -> dict[str, dict[str, str | None]]:
    """Extra of this package → the packages that it installs → their versions; None for one that is not there.

    Empty where this package itself is not installed, but found on the path.
    """
    found: dict[str, dict[str, str | None]] = {}
    for line in (_version(DISTRIBUTION) and metadata.requires(DISTRIBUTION)) or []:
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        if extra and name != DISTRIBUTION:  # an extra may name others, which stand for themselves
            found.setdefault(extra[1], {})[name] = _version(name)
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
