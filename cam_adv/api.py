"""The package from Python: run a study, or load its images, trained models and attacks in a notebook."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

import torch
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from cam_adv.config.command_errors import explain_config_error
from cam_adv.config.compose import settings_from
from cam_adv.config.composition import compose
from cam_adv.config.overrides import Value, parse_overrides
from cam_adv.config.repeated_run import with_repeated_run
from cam_adv.config.settings import Settings
from cam_adv.config.user_configs import add_user_configs
from cam_adv.data.load import load_dataset
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.reports.terminal import print_models, print_paths
from cam_adv.runtime import run_dir
from cam_adv.runtime.devices import acquire_device
from cam_adv.runtime.hardware_check import check_hardware
from cam_adv.studies.base import planned_interpretations
from cam_adv.studies.context import StudyContext
from cam_adv.studies.explanation_reliability.study_models import build_victims
from cam_adv.training.model_zoo import ModelZoo

log = logging.getLogger(__name__)

_loading = threading.Lock()
"""Trainings set the random state of the whole process, so that one thread at a time loads models."""


@torch.inference_mode(False)
def load(*overrides: str) -> StudyContext:
    """Compose a config as the command line does, load its models from the store, and train what is missing.

    Args:
        overrides: as on the command line, such as "dataset=mnist" or "attack.confidence=0.99".

    Returns:
        The images, models and attacks of the config's study; its folder is a temporary one.

    Raises:
        UserError: as on the command line.
    """
    with _loading:
        return _load(overrides)


def _load(overrides: Sequence[str]) -> StudyContext:
    add_user_configs()
    try:
        overrides = with_repeated_run(overrides)
        config = compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(*explain_config_error(error, overrides)) from error
    settings = settings_from(config, overrides)
    if settings.hardware.trainings == "auto":
        # Other processes would import a script anew, and would not find the classes of a notebook.
        hardware = settings.hardware.model_copy(update={"trainings": 1})
        settings = settings.model_copy(update={"hardware": hardware})
    check_hardware(settings.hardware)
    if settings.hardware.device == "idle":
        raise UserError(
            "hardware.device=idle is for a command, which releases its GPU when it ends.",
            "Name a GPU: hardware.device=0.",
        )
    context = _build(settings, Path(mkdtemp(prefix="cam_adv-")), {})
    context.prepare()
    return context


def run_study(settings: Settings, folder: Path, config: str, overrides: Sequence[str]) -> float | None:
    """Run the study of the settings and write its files into `folder`.

    Args:
        folder: of this run alone; nothing is written into it before all checks have passed.
        config: the resolved config, for the folder's `config.yaml`.
        overrides: of the command line, for the folder's `overrides.yaml`; they distinguish runs in comparisons.

    Returns:
        The objective of a search over settings; None where the study has none.

    Raises:
        UserError: an error that the user can correct; as far as possible before anything is trained.
    """
    check_hardware(settings.hardware)
    with acquire_device(settings.hardware) as hardware:
        context = _build(settings.model_copy(update={"hardware": hardware}), folder, parse_overrides(overrides))
        run_dir.claim(folder, config, overrides)
        with context.zoo.in_use:
            if models := context.prepare():
                print_models(models)
            objective = settings.study.run(context)
    if failed := context.drawing.failed:
        print(f"Not drawn, for the reasons above: {', '.join(failed)}. All numbers are in {folder}.")
    print_paths(folder, settings.outputs)
    return objective


def _build(settings: Settings, folder: Path, overrides: Mapping[str, Value]) -> StudyContext:
    """The context of a run: everything is checked, and nothing is trained yet."""
    settings, splits = _load_splits(settings)
    study, attack = settings.study, settings.attack
    study.check_data(settings, attack, splits)
    store, start_time = settings.outputs / "models", run_dir.start_time(folder)
    zoo = ModelZoo(splits, settings.dataset.name, store, settings.hardware, start_time)
    models = zoo.models(settings.model, study.roles(attack))
    further_models = study.build_models(settings, attack, splits, zoo)
    interpretations = planned_interpretations(study, settings, attack).values()
    seeds = sorted({seed for interpretation in interpretations for seed in interpretation.victims})
    explaining_victims = build_victims(settings.model.victim, seeds, zoo)
    context = StudyContext(
        settings, attack, splits, models, zoo, folder, overrides, further_models, explaining_victims
    )
    needs_exact_cam = any(one.needs_exact_cam for one in study.planned_attacks(attack).values())
    if models.victim is not None and (needs_exact_cam or study.planned_attributions(settings)):
        context.layer_target()  # raises for a victim without an exact CAM
    return context


def _load_splits(settings: Settings) -> tuple[Settings, ImageSplits]:
    """The settings with numbers in place of class names, and the images of their dataset, none for some studies.

    Raises:
        UserError: the images can't be read, or do not have the classes that the settings name.
    """
    if not settings.study.needs_images:
        none = LabelledImages(torch.empty(0, 1, 1, 1, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
        return settings, ImageSplits(none, none, none, ())
    log.info("Reading %s.", settings.dataset.name)
    splits = load_dataset(settings.dataset)
    settings = settings.with_class_numbers(splits.class_names)
    settings.check_classes(splits.num_classes)
    if settings.dataset.classes not in (None, splits.num_classes):
        raise UserError(
            f"dataset.classes={settings.dataset.classes}, but {settings.dataset.name} has {splits.num_classes}.",
            f"Set dataset.classes to {splits.num_classes} or to null.",
        )
    return settings, splits
