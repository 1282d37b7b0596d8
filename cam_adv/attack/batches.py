"""An attack on selected images, in batches, on however many devices."""

import shutil
from pathlib import Path

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.module import AttackDataModule, AttackModule
from cam_adv.attack.result import AttackResult
from cam_adv.attack.selection import Selection
from cam_adv.data.splits import LabelledImages
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
    attack.cpu()  # spawned processes get a copy of it, and each moves its own to its device
    trainer = make_trainer(with_devices(hardware, len(batches.numbers())), logger=False)
    trainer.predict(AttackModule(attack, folder), batches, return_predictions=False)
    result = batches.results()
    shutil.rmtree(folder)
    return result
