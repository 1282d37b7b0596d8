"""Study `attack_comparison`: attacks of both kinds, side by side, on the same victim and the same images."""

import logging
from collections.abc import Mapping
from typing import Annotated, Self

import torch
from pydantic import model_validator
from torch import Tensor

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.selection import Selection, sample_per_class
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import AttackEvaluation, evaluate_attack
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.predictions import batched_apply
from cam_adv.reports.files import write_attack, write_results
from cam_adv.runtime.tensor_files import save_tensors
from cam_adv.schema.component import built
from cam_adv.schema.fields import Key
from cam_adv.schema.run import RunSettings
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig
from cam_adv.studies.attack_comparison.detectors import detect
from cam_adv.studies.attack_comparison.detectors_report import report_detectors
from cam_adv.studies.attack_comparison.false_positives import Pictures, false_positive_table
from cam_adv.studies.attack_comparison.false_positives_report import (
    false_positives_content,
    false_positives_figure,
    print_false_positives,
)
from cam_adv.studies.attack_comparison.operating_point import AttackedImages, class_curves
from cam_adv.studies.attack_comparison.perturbed_pixels import perturbed_pixels
from cam_adv.studies.attack_comparison.perturbed_pixels_report import report_perturbed_pixels
from cam_adv.studies.attack_comparison.report import (
    attack_comparison_content,
    attack_comparison_figure,
    print_attack_comparison,
)
from cam_adv.studies.attack_comparison.scores import Scores
from cam_adv.studies.base import Study, require_both_kinds, roles_of
from cam_adv.studies.context import StudyContext

CONTROL = "control"
"""The name of the control attack's files."""

log = logging.getLogger(__name__)


class AttackComparison(Study, AttackComparisonConfig):
    """Every attack gets the same images of every class, with targets drawn by the seed.

    attacks: by name; of both kinds.
    control: makes pictures of y' without regard to the victim, with which those of Type I are compared.
    """

    attacks: dict[Key, Annotated[Attack, built(Attack)]]
    control: Annotated[Attack, built(Attack)]

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return roles_of([self.control, *self.attacks.values()]) | {"judge", "generator"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {f"study.attacks.{name}": one for name, one in self.attacks.items()} | {"study.control": self.control}

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        self._select(splits, torch.ones(len(splits.test), dtype=torch.bool), settings.seed)

    def run(self, context: StudyContext) -> None:
        """Attack the same images by every attack, leave each attack's files, and report on all of them together."""
        splits, evaluator = context.splits, context.evaluator()
        selection = self._select(splits, context.correct(splits.test), context.settings.seed)
        evaluations = {}
        for name, attack in (self.attacks | {CONTROL: self.control}).items():
            result = context.run_attack(context.bind(attack), selection)
            evaluations[name] = evaluate_attack(attack, result, evaluator, splits)
            write_attack(evaluations[name], selection.index, context.folder / f"{name}.safetensors")
            names, path = splits.class_names, context.folder / f"{name}.csv"
            write_results(evaluations[name], selection.index, attack.start_names, names, path)
        control = evaluations.pop(CONTROL)
        self._report(context, evaluator, selection, evaluations, control)

    def _select(self, splits: ImageSplits, eligible: Tensor, seed: int) -> Selection:
        """The images that every attack gets, among the `eligible` `(T,)` of the test images.

        Raises:
            UserError: a class has too few.
        """
        return sample_per_class(splits.test.labels, eligible, splits.class_names, self.images, seed)

    def _report(
        self,
        context: StudyContext,
        evaluator: Evaluator,
        selection: Selection,
        evaluations: Mapping[str, AttackEvaluation],
        control: AttackEvaluation,
    ) -> None:
        splits, seed, folder = context.splits, context.settings.seed, context.folder
        names, drawing = splits.class_names, context.drawing
        type1 = {name: of for name, of in evaluations.items() if of.kind == "type1"}
        type2 = {name: of for name, of in evaluations.items() if of.kind == "type2"}
        log.info("Comparing the curves of each class.")
        pictures = self._type1_pictures(type1, control, evaluator, splits.test)
        images = {name: of.result.x_adv for name, of in type2.items()}
        images |= {name: one.images for name, one in pictures.items()}
        scores = Scores.compute(evaluator.victim, splits, images, evaluator.device)
        labels = {"validation labels": splits.validation.labels, "test labels": splits.test.labels}
        save_tensors(scores.tensors() | labels, folder / "scores.safetensors")
        attacked = {
            name: AttackedImages(selection.index, selection.y, of.on_x_adv.judge_reads) for name, of in type2.items()
        }
        curves = class_curves(scores, splits.validation.labels, splits.test.labels, attacked, self, seed)
        heading = f"on {context.settings.model.victim.name}, {context.settings.dataset.name}{context.no_claim()}"
        print_attack_comparison(curves, names, self, f"Type II attacks {heading}")
        drawing.draw(f"{self.name}.png", attack_comparison_figure, curves, names, f"Type II attacks {heading}")
        clean = Pictures(splits.test.images, splits.test.labels, None, torch.arange(len(splits.test)))
        negatives = {
            name: one.negatives(scores.pictures[name], evaluator.judge.read(one.images, evaluator.device).reads)
            for name, one in pictures.items()
        }
        thresholds = torch.tensor([of_class.clean.threshold for of_class in curves], dtype=torch.float64)
        table = false_positive_table(
            clean.negatives(scores.test, splits.test.labels),
            negatives,
            list(type1),
            thresholds,
            self.prevalences,
            self.level,
        )
        print_false_positives(table, self.target_fpr, self.level)
        drawing.draw("false_positives.png", false_positives_figure, table, f"Type I attacks {heading}")
        latent = [name for name, attack in self.attacks.items() if "generator" in attack.roles]
        kinds = {name: attack.kind for name, attack in self.attacks.items()}
        log.info("Testing detectors of the attacks.")
        detection = detect(evaluations, latent, evaluator, self, seed)
        report_detectors(detection, kinds, self.detectors, selection.index, folder, drawing)
        log.info("Comparing the perturbed pixels with the CAM.")
        pixels = perturbed_pixels(evaluations, self, seed)
        report_perturbed_pixels(pixels, evaluations, self.perturbed_pixels, names, selection.index, folder, drawing)
        content = attack_comparison_content(curves, names, self)
        context.write_json(self.name, content | {"false_positives": false_positives_content(table, names)})

    def _type1_pictures(
        self,
        type1: Mapping[str, AttackEvaluation],
        control: AttackEvaluation,
        evaluator: Evaluator,
        test: LabelledImages,
    ) -> dict[str, Pictures]:
        """The pictures of Type I attacks by the attack's name, and those of the controls; see `false_positives`."""
        pictures = {name: _pictures(of, of.result.x_adv) for name, of in type1.items()}
        pictures[f"control {self.control.name}"] = _pictures(control, control.result.x_adv)
        pictures |= {
            f"G(start) of {name}": _pictures(of, of.start_image)
            for name, of in type1.items()
            if of.start_image is not None
        }
        reconstructions = batched_apply(evaluator.generator.reconstruct, test.images, evaluator.device)
        pictures["reconstructions"] = Pictures(reconstructions, test.labels, None, torch.arange(len(test)))
        return pictures

    @model_validator(mode="after")
    def _both_kinds_are_there(self) -> Self:
        require_both_kinds("study.attacks", self.attacks)
        return self

    @model_validator(mode="after")
    def _control_makes_the_target(self) -> Self:
        if self.control.kind != "type1":
            raise UserError(
                f"study.control is {self.control.name}, a Type II attack, whose images stay of class y; those of a "
                "control become y'.",
                "Choose attack@study.control=transition.",
            )
        return self

    @model_validator(mode="after")
    def _no_attack_is_named_control(self) -> Self:
        if CONTROL in self.attacks:
            raise UserError(
                f"study.attacks.{CONTROL} has the name under which study.control is reported.",
                "Give that attack another key.",
            )
        return self


def _pictures(of: AttackEvaluation, images: Tensor) -> Pictures:
    """Images that belong to the rows of an attack: asked for y, meant to be y'."""
    return Pictures(images, of.result.target, of.result.y, of.cluster)
