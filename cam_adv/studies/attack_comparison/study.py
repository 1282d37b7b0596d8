"""Study `attack_comparison`: attacks of both kinds, side by side, on the same victim and the same images."""

import logging
from collections.abc import Mapping
from typing import Annotated, Self

import torch
from pydantic import model_validator
from torch import Tensor

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.selection import Selection, sample_per_class
from cam_adv.data.splits import ImageSplits
from cam_adv.metrics.evaluation import AttackEvaluation, evaluate_attack
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.reports.files import write_attack, write_results
from cam_adv.runtime.tensor_files import save_tensors
from cam_adv.schema.component import built
from cam_adv.schema.fields import Key
from cam_adv.schema.run import RunSettings
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig
from cam_adv.studies.attack_comparison.detectors import detect
from cam_adv.studies.attack_comparison.detectors_report import report_detectors
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

log = logging.getLogger(__name__)


class AttackComparison(Study, AttackComparisonConfig):
    """Every attack gets the same images of every class, with targets drawn by the seed.

    attacks: by name; of both kinds.
    """

    attacks: dict[Key, Annotated[Attack, built(Attack)]]

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return roles_of(self.attacks.values()) | {"judge", "generator"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {f"study.attacks.{name}": one for name, one in self.attacks.items()}

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        self._select(splits, torch.ones(len(splits.test), dtype=torch.bool), settings.seed)

    def run(self, context: StudyContext) -> None:
        """Attack the same images by every attack, leave each attack's files, and report on all of them together."""
        splits, evaluator = context.splits, context.evaluator()
        selection = self._select(splits, context.correct(splits.test), context.settings.seed)
        evaluations = {}
        for name, attack in self.attacks.items():
            result = context.run_attack(context.bind(attack), selection)
            evaluations[name] = evaluate_attack(attack, result, evaluator, splits)
            write_attack(evaluations[name], selection.index, context.folder / f"{name}.safetensors")
            names, path = splits.class_names, context.folder / f"{name}.csv"
            write_results(evaluations[name], selection.index, attack.start_names, names, path)
        self._report(context, evaluator, selection, evaluations)

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
    ) -> None:
        splits, seed, folder = context.splits, context.settings.seed, context.folder
        names, drawing = splits.class_names, context.drawing
        results = {name: evaluation.result for name, evaluation in evaluations.items()}
        log.info("Comparing the curves of each class.")
        scores = Scores.compute(evaluator.victim, splits, results, evaluator.device)
        attacked = {
            name: AttackedImages(evaluation.kind, selection.index, selection.y, evaluation.on_x_adv.judge_reads)
            for name, evaluation in evaluations.items()
        }
        curves = class_curves(scores, splits.validation.labels, splits.test.labels, attacked, self, seed)
        heading = f"both kinds of attack on {context.settings.model.victim.name}, {context.settings.dataset.name}"
        heading += context.no_claim()
        labels = {"validation labels": splits.validation.labels, "test labels": splits.test.labels}
        save_tensors(scores.tensors() | labels, folder / "scores.safetensors")
        print_attack_comparison(curves, names, self, heading)
        drawing.draw(f"{self.name}.png", attack_comparison_figure, curves, names, heading)
        latent = [name for name, attack in self.attacks.items() if "generator" in attack.roles]
        kinds = {name: attack.kind for name, attack in self.attacks.items()}
        log.info("Testing detectors of the attacks.")
        detection = detect(evaluations, latent, evaluator, self, seed)
        report_detectors(detection, kinds, self.detectors, selection.index, folder, drawing)
        log.info("Comparing the perturbed pixels with the CAM.")
        pixels = perturbed_pixels(evaluations, self, seed)
        report_perturbed_pixels(pixels, evaluations, self.perturbed_pixels, names, selection.index, folder, drawing)
        context.write_json(self.name, attack_comparison_content(curves, names, self))

    @model_validator(mode="after")
    def _both_kinds_are_there(self) -> Self:
        require_both_kinds("study.attacks", self.attacks)
        return self
