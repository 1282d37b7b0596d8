"""An attack on selected images: in batches, on one or several devices, resumable after an interruption."""

import logging
from pathlib import Path

from cam_adv.attacks.base import BoundAttack
from cam_adv.attacks.batch_size import resolve_batch_size
from cam_adv.attacks.predict import AttackDataModule, AttackModule
from cam_adv.attacks.result import AttackResult
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.runtime.digest import digest
from cam_adv.runtime.distributed import require_shared_folder, run_on_all_ranks
from cam_adv.runtime.source_hash import source_hash, targets_in
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.training.trainer import make_trainer, with_devices

log = logging.getLogger(__name__)


def run_attack(
    attack: BoundAttack,
    data: LabelledImages,
    selection: Selection,
    hardware: HardwareSettings,
    folder: Path,
) -> tuple[AttackResult, float]:
    """Run an attack on selected images as a Lightning predict step.

    Args:
        folder: for the results of the batches, with which an interrupted attack resumes. Several attacks may share
            it; the caller removes it.

    Returns:
        The result, and the seconds that were spent earlier on the batches found in the folder.
    """
    attack.cpu()  # each process gets a copy and moves it to its own device
    # The digest makes sure that only batches of this same attack are reused.
    size = resolve_batch_size(attack, data, selection, hardware)
    own = folder / _digest(attack, data, selection, hardware.precision, size)
    own.mkdir(parents=True, exist_ok=True)
    batches = AttackDataModule(data, selection, size, own)
    if batches.left:
        if done := len(batches.numbers()) - len(batches.left):
            log.info("The attack goes on: %d of %d batches are done.", done, len(batches.numbers()))
        run_on_all_ranks(
            _predict,
            AttackModule(attack, len(batches.numbers()), own),
            batches,
            with_devices(hardware, len(batches.left)),
        )
    return batches.results(), batches.seconds_done


def _predict(module: AttackModule, batches: AttackDataModule, hardware: HardwareSettings) -> None:
    """Attack this process's share of the batches, on its device."""
    require_shared_folder(module.folder)
    make_trainer(hardware, logger=False).predict(module, batches, return_predictions=False)


def _digest(attack: BoundAttack, data: LabelledImages, selection: Selection, precision: str, batch_size: int) -> str:
    """A digest of everything that the result depends on."""
    kinds = {type(module) for module in attack.modules()}
    used = {
        "real": attack.models.real if attack.attack.uses_real_images else None,
        "train": attack.models.train_images if attack.attack.uses_train_images else None,
    }
    settings = attack.attack.model_dump(mode="json") | {"batch_size": batch_size}
    plain = {
        "precision": precision,
        "seed": attack.seed,
        "attack": settings,
        "networks": repr(attack.models),
        "code": source_hash(type(attack.attack), *kinds, *targets_in(settings)),
        "images": {name: None if images is None else images.digest() for name, images in used.items()},
    }
    return digest(plain, attack.state_dict() | vars(selection) | {"images": data.images[selection.index]})
