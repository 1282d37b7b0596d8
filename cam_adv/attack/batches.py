"""An attack on selected images, in batches, on however many devices, and as often interrupted as it may be."""

import logging
from pathlib import Path

from cam_adv.attack.module import Attack, AttackDataModule, AttackModule
from cam_adv.attack.result import AttackResult
from cam_adv.attack.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.digest import digest
from cam_adv.hardware.processes import must_be_shared, together
from cam_adv.networks.code import code_digest
from cam_adv.settings import HardwareSettings
from cam_adv.training.trainer import make_trainer, with_devices

log = logging.getLogger(__name__)


def walk_batches(
    attack: Attack,
    data: LabelledImages,
    selection: Selection,
    hardware: HardwareSettings,
    folder: Path,
) -> AttackResult:
    """Run an attack on selected images as a Lightning predict step, on however many devices.

    Args:
        folder: keeps the batches' results, so that an attack which is interrupted can go on. It may be shared with
            other attacks, and is the caller's to remove when it needs them no more.
    """
    return resume_walk(attack, data, selection, hardware, folder)[0]


def resume_walk(
    attack: Attack,
    data: LabelledImages,
    selection: Selection,
    hardware: HardwareSettings,
    folder: Path,
) -> tuple[AttackResult, float]:
    """`walk_batches`, and how many seconds had gone into the batches that it found done."""
    attack.cpu()  # other processes get a copy of it, and each moves its own to its device
    # An attack finds the batches of this very attack only, or none.
    own = folder / _digest(attack, data, selection, hardware.precision)
    own.mkdir(parents=True, exist_ok=True)
    batches = AttackDataModule(data, selection, attack.settings.batch_size, own)
    if batches.left:
        if done := len(batches.numbers()) - len(batches.left):
            log.info("The attack goes on: %d of %d batches are done.", done, len(batches.numbers()))
        together(_walk, AttackModule(attack, own), batches, with_devices(hardware, len(batches.left)))
    return batches.results(), batches.seconds_done


def _walk(module: AttackModule, batches: AttackDataModule, hardware: HardwareSettings) -> None:
    """This process's share of the batches, on its device."""
    must_be_shared(module.folder)
    make_trainer(hardware, logger=False).predict(module, batches, return_predictions=False)


def _digest(attack: Attack, data: LabelledImages, selection: Selection, precision: str) -> str:
    """Of everything that decides what the attack makes of the images."""
    own = {type(module) for module in attack.modules()}
    own = {one for one in own if not one.__module__.startswith(("cam_adv.", "torch."))}
    plain = {
        "precision": precision,
        "seed": attack.seed,
        "settings": attack.settings.model_dump(mode="json"),
        "networks": repr(attack),
        "code": sorted(str(code_digest(one)) for one in own),
        "real": attack.real_digest,
    }
    return digest(plain, attack.state_dict() | vars(selection) | {"images": data.images[selection.index]})
