"""The chain from settings to a stage: hardware, data, models, and what is made of them; no command line."""

from collections.abc import Mapping
from pathlib import Path

import torch

from cam_adv import run_folder
from cam_adv.data.load import load_dataset
from cam_adv.data.people import pictures_of_people
from cam_adv.errors import UserError
from cam_adv.explanation.subject import Subject
from cam_adv.hardware.check import check_hardware
from cam_adv.hardware.devices import placed
from cam_adv.networks.predictions import unit
from cam_adv.overrides import Value
from cam_adv.report import files, terminal
from cam_adv.settings import Settings, check_classes
from cam_adv.stages import agreement, attack, bound, defence, kinds, reliability
from cam_adv.training.workshop import Workshop


def run(settings: Settings, folder: Path, config: str, overrides: Mapping[str, Value]) -> float | None:
    """Do what `settings.stage` asks for and leave the report in `folder`.

    Args:
        settings: what to do.
        folder: of this run alone; nothing is written into it before all that can be checked is.
        config: the resolved config, for the folder's `config.yaml`.
        overrides: what the command line set, which tells runs apart where they are compared.

    Returns:
        What a sampler of settings would maximise: the attack's success rate; None where only a model is trained.

    Raises:
        UserError: something that the user can mend; before anything is trained, as far as that can be known.
    """
    check_hardware(settings.hardware)
    with placed(settings.hardware) as hardware:
        return _run(settings.model_copy(update={"hardware": hardware}), folder, config, overrides)


def _run(settings: Settings, folder: Path, config: str, overrides: Mapping[str, Value]) -> float | None:
    splits = load_dataset(settings.dataset)
    check_classes(settings, splits.num_classes)
    if settings.dataset.classes not in (None, splits.num_classes):
        raise UserError(
            f"dataset.classes={settings.dataset.classes}, but {settings.dataset.name} has {splits.num_classes}.",
            f"Set dataset.classes to {splits.num_classes} or to null.",
        )
    # A perfect victim would have every test image attacked: what even that can't serve is said before training.
    perfect = torch.ones(len(splits.test), dtype=torch.bool)
    if settings.stage == "attack":
        attack.choose(settings, splits, perfect)
    if settings.stage == "bound":
        bound.choose(settings, perfect)
    if settings.stage == "kinds":
        kinds.choose(settings, splits, perfect)
    people = None
    if settings.stage == "agreement":
        images, labels = settings.people.images, settings.people.labels
        people = pictures_of_people(images, labels, splits.image_shape, splits.num_classes)
    store = settings.outputs / "models"
    workshop = Workshop(splits, settings.dataset.name, store, settings.hardware, run_folder.began(folder))
    if settings.stage == "reliability":
        return reliability.run(settings, splits, workshop, folder, config)
    if settings.stage == "defence":
        return defence.run(settings, splits, workshop, folder, config)
    attacks = settings.attacks.values()
    models = workshop.models(settings.model, settings.stage, any(one.asks_surrogates for one in attacks))
    if models.victim is not None and any(one.holds_map for one in attacks):
        Subject.with_exact_cam(models.victim.network, unit(splits.test.images[:8]))  # refuses a victim without one
    files.claim(folder, config)
    workshop.prepare(models.all(), settings.retrain)
    terminal.print_models(models.all())
    if people is not None:
        return agreement.run(settings, models, people, folder)
    if settings.stage == "bound":
        return bound.run(settings, splits, models, folder)
    if settings.stage == "kinds":
        return kinds.run(settings, splits, models, folder)
    if settings.stage != "attack":
        return None
    return attack.run(settings, splits, models, folder, overrides)
