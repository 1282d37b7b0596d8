"""Stage "attack": walk, judge, explain, draw."""

import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cam_adv import run_folder
from cam_adv.attack.batches import resume_walk, walk_batches
from cam_adv.attack.selection import Selection, first_of_each, select
from cam_adv.data.splits import ImageSplits
from cam_adv.evaluation.assessment import assess
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.hardware.devices import main_device
from cam_adv.networks.check import MASKED_BELOW, gradient_agreement
from cam_adv.networks.predictions import unit
from cam_adv.overrides import Value
from cam_adv.report import files, gallery, terminal
from cam_adv.report.events import write_events
from cam_adv.report.hparams import hyperparameters
from cam_adv.settings import LatentAttackSettings, Settings
from cam_adv.toolbox import Toolbox
from cam_adv.training.workshop import Models

SOME = 32
"""Test images on which the victim's gradient is tried."""


def run(
    settings: Settings, splits: ImageSplits, models: Models, folder: Path, overrides: Mapping[str, Value]
) -> float:
    """Attack, judge, explain, draw."""
    tools, device = Toolbox.of(settings, splits, models), main_device(settings.hardware)
    test, names = splits.test, splits.class_names
    witnesses = Witnesses.call(tools.victim, tools.judge, tools.generator, test.images[:8], device)

    if witnesses.place is None:
        print("The victim does not end in global average pooling and one linear layer: it has no exact maps.")
    some = unit(test.images[:SOME].to(device))
    agreement = gradient_agreement(tools.victim, some)
    if agreement < MASKED_BELOW:
        print(
            f"The victim's gradient is masked: a short step along it holds what it promises on {agreement:.0%} "
            f"of {len(some)} images. What attacks find here says little of how easily this victim is fooled."
        )
    on_test = witnesses.ask(test.images)
    accuracy = {
        who: (getattr(on_test, who).argmax(dim=1) == test.labels).float().mean().item()
        for who in ("victim", "judge", "f2")
    }
    eligible = on_test.victim.argmax(dim=1) == test.labels
    plan = settings.attack
    numbers, pictures = choose(settings, splits, eligible)

    started = time.perf_counter()
    attack = tools.attack()
    result, seconds_before = resume_walk(attack, test, numbers, settings.hardware, folder / run_folder.BATCHES)
    seconds = seconds_before + time.perf_counter() - started
    walks = walk_batches(attack.at_every_step(), test, pictures, settings.hardware, folder / run_folder.BATCHES)

    assessment = assess(result, witnesses, splits, plan)
    rates = files.rates(assessment)
    figures = {
        "images": len(result),
        "steps": plan.steps_per_start * len(plan.starts),
        "seconds": round(seconds, 2),
        "victim_accuracy": accuracy["victim"],
        "judge_accuracy": accuracy["judge"],
        "f2_accuracy": accuracy["f2"],
        "gradient_agreement": agreement,
        "diverged": int(result.diverged.sum()),
        "median_distance": (result.z - result.z0).norm(dim=1).median().item(),
        "median_norm": result.z.norm(dim=1).median().item(),
    }
    figures |= assessment.distances.figures()
    figures |= {f"from_{start}": int((result.start == number).sum()) for number, start in enumerate(plan.starts)}
    files.write_attack(assessment, numbers.index, folder / "attack.safetensors")
    files.write_results(assessment, numbers.index, plan.starts, names, folder / "results.csv")
    gallery.draw_run(assessment, walks, witnesses, plan, names, models, folder)
    summary, asked = files.summary(rates, {"kind": plan.kind} | figures), hyperparameters(settings, overrides)
    write_events(assessment, witnesses, plan.steps_per_start, names, asked, summary, folder)
    files.write_summary(summary, folder / "summary.json")
    terminal.print_attack(plan.kind, f"{plan.name} on {settings.dataset.name}", rates, figures)
    terminal.print_paths(folder, settings.outputs)
    return rates["success"].rate


def choose(settings: Settings, splits: ImageSplits, eligible: Tensor) -> tuple[Selection, Selection]:
    """The images for the numbers, and those whose walks are drawn, among the `eligible` `(T,)` of the test images."""
    labels, plan, pairs = splits.test.labels, settings.attack, settings.dataset.pictures
    if isinstance(plan, LatentAttackSettings):
        target = plan.target
    else:  # any class will do: the images are those of other attacks, and each class is drawn once
        target, pairs = "next", list(dict(pairs).items())
    numbers = select(labels, eligible, splits.num_classes, plan.images, plan.source, target, settings.seed)
    return numbers, first_of_each(labels, eligible, pairs)
