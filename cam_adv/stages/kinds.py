"""Stage "kinds": both kinds of attack, side by side, on the same victim and the same images."""

from pathlib import Path

from torch import Tensor

from cam_adv.attack.batches import walk_batches
from cam_adv.attack.result import save_tensors
from cam_adv.attack.selection import Selection, of_every_class
from cam_adv.data.splits import ImageSplits
from cam_adv.evaluation.assessment import Assessment, assess
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.hardware.devices import main_device
from cam_adv.kinds.detectors import detect
from cam_adv.kinds.movement import Attacked, class_curves
from cam_adv.kinds.perturbed_pixels import perturbed_pixels
from cam_adv.kinds.scores import Scores
from cam_adv.networks.predictions import in_batches
from cam_adv.report import files, terminal
from cam_adv.report.detectors import report_detectors
from cam_adv.report.perturbed_pixels import report_perturbed_pixels
from cam_adv.report.roc import draw_roc, print_roc, roc_content
from cam_adv.run_folder import BATCHES
from cam_adv.settings import Settings
from cam_adv.toolbox import Toolbox
from cam_adv.training.workshop import Models


def run(settings: Settings, splits: ImageSplits, models: Models, folder: Path) -> None:
    """Attack the same images by every attack, leave each attack's files, and report on all of them together."""
    tools, device = Toolbox.of(settings, splits, models), main_device(settings.hardware)
    test = splits.test
    witnesses = Witnesses.call(tools.victim, tools.judge, tools.generator, test.images[:8], device)
    eligible = in_batches(tools.victim, test.images, device).argmax(dim=1) == test.labels
    selection = choose(settings, splits, eligible)
    assessments = {}
    for name, plan in settings.kinds.attacks.items():
        result = walk_batches(tools.attack(plan), test, selection, settings.hardware, folder / BATCHES)
        assessments[name] = assess(result, witnesses, splits, plan)
        files.write_attack(assessments[name], selection.index, folder / f"{name}.safetensors")
        files.write_results(
            assessments[name], selection.index, plan.starts, splits.class_names, folder / f"{name}.csv"
        )
    report(settings, splits, witnesses, selection, assessments, folder)
    terminal.print_paths(folder, settings.outputs)


def choose(settings: Settings, splits: ImageSplits, eligible: Tensor) -> Selection:
    """The images that every attack gets, among the `eligible` `(T,)` of the test images.

    Raises:
        UserError: a class has too few.
    """
    return of_every_class(splits.test.labels, eligible, splits.num_classes, settings.kinds.images, settings.seed)


def report(
    settings: Settings,
    splits: ImageSplits,
    witnesses: Witnesses,
    selection: Selection,
    assessments: dict[str, Assessment],
    folder: Path,
) -> None:
    """What is told of all attacks together; `roc.json` comes last, which marks the run as finished.

    Args:
        selection: the images that every attack got.
        assessments: by the attack's name, rows in the selection's order.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    plan, names = settings.kinds, splits.class_names
    results = {name: assessment.result for name, assessment in assessments.items()}
    scores = Scores.of(witnesses.victim, splits, results, witnesses.device)
    attacks = {
        name: Attacked(assessment.kind, selection.index, selection.y, assessment.on_x_adv.judge.argmax(dim=1))
        for name, assessment in assessments.items()
    }
    curves = class_curves(scores, splits.validation.labels, splits.test.labels, attacks, plan, settings.seed)
    heading = f"both kinds of attack on {settings.model.victim.name}, {settings.dataset.name}"
    labels = {"validation labels": splits.validation.labels, "test labels": splits.test.labels}
    save_tensors(scores.tensors() | labels, folder / "scores.safetensors")
    draw_roc(curves, names, heading, figures / "roc.png")
    print_roc(curves, names, plan, heading)
    report_detectors(detect(assessments, witnesses, plan, settings.seed), plan, selection.index, folder)
    pixels = perturbed_pixels(assessments, plan, settings.seed)
    report_perturbed_pixels(pixels, assessments, plan.perturbed_pixels, names, selection.index, folder)
    files.write_summary(roc_content(curves, names, plan), folder / "roc.json")
