"""The chain from settings to a report: data, models, attack, verdict, pictures; nothing of the command line."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cam_adv import run_folder
from cam_adv.attack.batches import resume_walk, walk_batches
from cam_adv.attack.selection import Selection, first_of_each, select
from cam_adv.data.load import load_dataset
from cam_adv.data.people import pictures_of_people
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.evaluation.agreement import agreement
from cam_adv.evaluation.assessment import assess
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.explanation.subject import Subject
from cam_adv.hardware.check import check_hardware
from cam_adv.hardware.devices import main_device, placed
from cam_adv.networks.predictions import unit
from cam_adv.overrides import Value
from cam_adv.reliability import study as reliability
from cam_adv.report import files, gallery, terminal
from cam_adv.report.events import write_events
from cam_adv.report.hparams import hyperparameters
from cam_adv.settings import Settings, check_classes
from cam_adv.toolbox import Toolbox
from cam_adv.training.workshop import Models, Workshop


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
    if settings.stage == "attack":
        # A perfect victim would have every test image attacked: what even that can't serve is said before training.
        _select(settings, splits, torch.ones(len(splits.test), dtype=torch.bool))
    people = None
    if settings.stage == "agreement":
        images, labels = settings.people.images, settings.people.labels
        people = pictures_of_people(images, labels, splits.image_shape, splits.num_classes)
    store = settings.outputs / "models"
    workshop = Workshop(splits, settings.dataset.name, store, settings.hardware, run_folder.began(folder))
    if settings.stage == "reliability":
        return reliability.run(settings, splits, workshop, folder, config)
    models = workshop.models(settings.model, settings.stage, settings.attack.weights.surrogates > 0)
    if models.victim is not None and settings.attack.weights.cam > 0:
        Subject.with_exact_cam(models.victim.network, unit(splits.test.images[:8]))  # refuses a victim without one
    files.claim(folder, config)
    workshop.prepare(models.all(), settings.retrain)
    terminal.print_models(models.all())
    if people is not None:
        return _agreement(settings, models, people, folder)
    if settings.stage != "attack":
        return None
    return _attack(settings, splits, models, folder, overrides)


def _agreement(settings: Settings, models: Models, people: LabelledImages, folder: Path) -> float:
    """How often the judge answers as people do."""
    rates = agreement(models.judges(), people, main_device(settings.hardware))
    files.write_summary(files.summary(rates, {"pictures": len(people)}), folder / "agreement.json")
    terminal.print_agreement(rates)
    terminal.print_paths(folder, settings.outputs)
    return rates["judge"].rate


def _attack(
    settings: Settings, splits: ImageSplits, models: Models, folder: Path, overrides: Mapping[str, Value]
) -> float:
    """Attack, judge, explain, draw."""
    tools, device = Toolbox.of(settings, splits, models), main_device(settings.hardware)
    test, names = splits.test, splits.class_names
    witnesses = Witnesses.call(tools.victim, tools.judge, tools.generator, test.images[:8], device)

    if witnesses.place is None:
        print("The victim does not end in global average pooling and one linear layer: it has no exact maps.")
    on_test = witnesses.ask(test.images)
    accuracy = {
        who: (getattr(on_test, who).argmax(dim=1) == test.labels).float().mean().item()
        for who in ("victim", "judge", "f2")
    }
    eligible = on_test.victim.argmax(dim=1) == test.labels
    plan = settings.attack
    numbers, pictures = _select(settings, splits, eligible)

    started = time.perf_counter()
    attack = tools.attack()
    result, seconds_before = resume_walk(attack, test, numbers, settings.hardware, folder / run_folder.BATCHES)
    seconds = seconds_before + time.perf_counter() - started
    walks = walk_batches(attack.at_every_step(), test, pictures, settings.hardware, folder / run_folder.BATCHES)

    assessment = assess(result, witnesses, splits, plan.confidence)
    rates = files.rates(assessment)
    figures = {
        "images": len(result),
        "steps": plan.steps * len(plan.starts),
        "seconds": round(seconds, 2),
        "victim_accuracy": accuracy["victim"],
        "judge_accuracy": accuracy["judge"],
        "f2_accuracy": accuracy["f2"],
        "median_distance": (result.z - result.z0).norm(dim=1).median().item(),
        "median_norm": result.z.norm(dim=1).median().item(),
    }
    figures |= assessment.distances.figures()
    figures |= {f"from_{start}": int((result.start == number).sum()) for number, start in enumerate(plan.starts)}
    files.write_attack(assessment, numbers.index, folder / "attack.safetensors")
    files.write_results(assessment, numbers.index, plan.starts, names, folder / "results.csv")
    gallery.draw_run(assessment, walks, witnesses, plan, names, models, folder)
    summary, asked = files.summary(rates, figures), hyperparameters(settings, overrides)
    write_events(assessment, witnesses, plan.steps, names, asked, summary, folder)
    files.write_summary(summary, folder / "summary.json")
    terminal.print_attack(f"{plan.name} on {settings.dataset.name}", rates, figures)
    terminal.print_paths(folder, settings.outputs)
    return rates["success"].rate


def _select(settings: Settings, splits: ImageSplits, eligible: Tensor) -> tuple[Selection, Selection]:
    """The images for the numbers, and those whose walks are drawn, among the `eligible` `(T,)` of the test images."""
    labels, plan = splits.test.labels, settings.attack
    numbers = select(labels, eligible, splits.num_classes, plan.images, plan.source, plan.target, settings.seed)
    return numbers, first_of_each(labels, eligible, settings.dataset.pictures)
