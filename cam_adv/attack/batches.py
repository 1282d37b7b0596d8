"""An attack on selected images, in batches, on however many devices."""

import shutil
from pathlib import Path

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.module import AttackDataModule, AttackModule
from cam_adv.attack.result import AttackResult
from cam_adv.attack.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.hardware.processes import must_be_shared, together
from cam_adv.settings import HardwareSettings
from cam_adv.training.trainer import make_trainer, with_devices


def walk_batches(
    attack: LatentAttack,
    data: LabelledImages,
    selection: Selection,
    hardware: HardwareSettings,
    folder: Path,
) -> AttackResult:
    """Run an attack on selected images as a Lightning predict step, on however many devices.

    Args:
        folder: keeps each batch's result until all are there; removed by then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = AttackDataModule(data, selection, attack.settings.batch_size, folder)
    attack.cpu()  # other processes get a copy of it, and each moves its own to its device
    together(_walk, AttackModule(attack, folder), batches, with_devices(hardware, len(batches.numbers())))
    result = batches.results()
    shutil.rmtree(folder)
    return result


def _walk(module: AttackModule, batches: AttackDataModule, hardware: HardwareSettings) -> None:
    """This process's share of the batches, on its device."""
    must_be_shared(module.folder)
    make_trainer(hardware, logger=False).predict(module, batches, return_predictions=False)
