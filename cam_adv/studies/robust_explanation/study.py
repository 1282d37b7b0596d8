"""Study `robust_explanation`: which explanations reveal an attack that knows of the explanation, too?

The primary outcome is the share of attacked images that the judge reads as y', that the victim still calls y, and on
which the explanation gives no alarm: it does not abstain, and a detector takes its map for an honest one.
"""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection, select
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import AttackEvaluation, evaluate_attack
from cam_adv.models.predictions import batched_apply
from cam_adv.plots.image_grid import image_grid_figure
from cam_adv.reports.files import write_attack
from cam_adv.schema.attribution import AnyAttribution, AttributionSettings, RobustSettings
from cam_adv.schema.run import RunSettings
from cam_adv.schema.selection import SelectionSettings
from cam_adv.studies.base import Study, roles_of
from cam_adv.studies.context import StudyContext
from cam_adv.studies.explanation_reliability.maps import make_maps
from cam_adv.studies.robust_explanation.concealment import (
    Alarms,
    ExplainedImages,
    give_alarms,
    measure_concealment,
)
from cam_adv.studies.robust_explanation.config import RobustExplanationConfig
from cam_adv.studies.robust_explanation.control import adjust_p_values, control_p_value
from cam_adv.studies.robust_explanation.report import (
    Findings,
    concealment_figure,
    findings_to_json,
    print_concealment,
    warnings_about,
)

log = logging.getLogger(__name__)

UNCHANGED, RECONSTRUCTION = "unchanged", "reconstruction"
"""Controls in place of x': x itself, on which nothing may give an alarm, and G(mu(x))."""


class RobustExplanationStudy(Study, RobustExplanationConfig):
    """Attacks the same images with every attack, explains what comes of it, and counts what stays concealed."""

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return roles_of(self.attacks.values()) | {"victim", "judge", "generator"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {f"study.attacks.{name}": one for name, one in self.attacks.items()}

    def planned_attributions(self, settings: RunSettings) -> Mapping[str, AnyAttribution]:
        """See `Study.planned_attributions`."""
        return {f"study.attributions.{name}": one for name, one in self.attributions.items()}

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        self._draw(settings, splits, torch.ones(len(splits.test), dtype=torch.bool))

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        splits, settings, evaluator = context.splits, context.settings, context.evaluator()
        correct = context.correct(splits.test)
        selection, honest_selection = self._draw(settings, splits, correct)
        calibration_images, calibration_selection = self._draw_calibration(
            settings, splits, _without(correct, selection, honest_selection), context.correct(splits.validation)
        )
        evaluations: dict[str, AttackEvaluation] = {}
        for name, attack in self.attacks.items():
            result = context.run_attack(context.bind(attack), selection)
            evaluations[name] = evaluate_attack(attack, result, evaluator, splits)
        x, every = to_unit_range(splits.test.images[selection.index]), torch.ones(len(selection), dtype=torch.bool)
        images = {name: (one.result.x_adv, one.verdict.success) for name, one in evaluations.items()}
        images[UNCHANGED] = x, every
        images[RECONSTRUCTION] = batched_apply(context.generator.reconstruct, x, context.device), every
        alone = torch.arange(len(selection))
        clusters = {name: alone for name in images} | {name: one.cluster for name, one in evaluations.items()}
        alarms: dict[str, dict[str, Alarms]] = {name: {} for name in images}
        maps: dict[str, dict[str, Tensor]] = {name: {} for name in images}
        p_values: dict[str, float | None] = {}
        for number, (key, attribution) in enumerate(self.attributions.items(), start=1):
            log.info("Explaining all images by %s (%d of %d).", key, number, len(self.attributions))
            explainer = _Explainer(context, attribution)
            calibration = explainer.explain_real(calibration_images, calibration_selection)
            honest = explainer.explain_real(splits.test.images[honest_selection.index], honest_selection)
            level = self._map_level(attribution)
            for name, (pictures, success) in images.items():
                attacked = explainer.explain(pictures, selection.y, selection.target)
                maps[name][key] = attacked.maps
                alarms[name][key] = give_alarms(
                    attacked,
                    success,
                    calibration,
                    honest,
                    clusters[name],
                    level,
                    self.folds,
                    settings.seed,
                )
                if name == UNCHANGED:
                    p_values[key] = control_p_value(
                        attacked, calibration, honest, level, self.folds, self.permutations, settings.seed
                    )
        findings = {
            name: measure_concealment(of_attack, images[name][1], clusters[name], self.reference)
            for name, of_attack in alarms.items()
        }
        counts = {"images": len(selection), "honest": self.honest, "calibration": len(calibration_selection)}
        for name, evaluation in evaluations.items():
            tensors = _explanation_tensors(maps[name], alarms[name])
            write_attack(evaluation, selection.index, context.folder / f"{name}.safetensors", tensors)
            _draw_pictures(context, evaluation, f"{name}.png")
        self._report(context, findings, adjust_p_values(p_values), counts)

    def _report(
        self,
        context: StudyContext,
        findings: Findings,
        p_values: Mapping[str, float | None],
        counts: Mapping[str, int],
    ) -> None:
        """The study's JSON, the table and the figure."""
        warnings = warnings_about(findings, p_values, self.folds)
        heading = f"explanations under attack, {context.settings.dataset.name}{context.no_claim()}"
        print_concealment(findings, heading, warnings)
        context.drawing.draw(f"{self.name}.png", concealment_figure, findings, heading)
        context.write_json(self.name, findings_to_json(findings, counts, p_values, warnings))

    def _draw(self, settings: RunSettings, splits: ImageSplits, eligible: Tensor) -> tuple[Selection, Selection]:
        """The test images that every attack gets, and honest ones beside them, among the `eligible` `(T,)`.

        Raises:
            UserError: there are too few.
        """
        labels, config = splits.test.labels, settings.selection
        drawn = select(
            labels,
            eligible,
            splits.class_names,
            self.images,
            config.source_class,
            config.target,
            settings.seed,
            "study.images",
        )
        others = _comparable(labels, _without(eligible, drawn), config)
        left = int(others.sum())
        if left < self.honest:
            raise UserError(
                f"study.honest={self.honest}, but beside the attacked ones there are only {left} test images of the "
                "classes that are attacked and that the victim can classify correctly.",
                f"Set study.honest to {left} or less." if left else f"Set study.images to less than {self.images}.",
            )
        return drawn, _select_like(config, labels, others, splits, self.honest, settings.seed + 1)

    def _draw_calibration(
        self, settings: RunSettings, splits: ImageSplits, test: Tensor, validation: Tensor
    ) -> tuple[Tensor, Selection]:
        """The images that set thresholds, `(N, C, H, W)` uint8, among the eligible ones of both parts.

        The index is that among the test and then the validation images.

        Raises:
            UserError: there are none of the classes that are attacked.
        """
        labels, config = torch.cat([splits.test.labels, splits.validation.labels]), settings.selection
        eligible = _comparable(labels, torch.cat([test, validation]), config)
        count = min(self.calibration, int(eligible.sum()))
        drawn = _select_like(config, labels, eligible, splits, count, settings.seed)
        of_test = drawn.index[drawn.index < len(test)]
        of_validation = drawn.index[len(of_test) :] - len(test)
        return torch.cat([splits.test.images[of_test], splits.validation.images[of_validation]]), drawn

    def _map_level(self, attribution: AnyAttribution) -> float:
        """The share of false alarms among shown maps with which all alarms have a share of `target_fpr`."""
        abstains = attribution.level if isinstance(attribution, RobustSettings) else 0.0
        return (self.target_fpr - abstains) / (1 - abstains)


class _Explainer:
    """Explains images by one attribution of the study's victim."""

    def __init__(self, context: StudyContext, attribution: AnyAttribution) -> None:
        self.context, self.attribution = context, attribution
        self.interpretation = context.interpretation(attribution) if isinstance(attribution, RobustSettings) else None
        self.layer_target = context.layer_target()

    def explain(self, images: Tensor, y: Tensor, target: Tensor) -> ExplainedImages:
        """Of images `(N, C, H, W)` in [0, 1], why they are of class y rather than y' `(N,)`."""
        device = self.context.device
        if self.interpretation is not None:
            explained = self.interpretation.explain(images.to(device), y.to(device), target.to(device))
            return ExplainedImages(explained.maps, explained.abstained, y)
        assert isinstance(self.attribution, AttributionSettings)
        maps = make_maps(self.attribution, self.layer_target, images, y, target, device)
        return ExplainedImages(maps, torch.zeros(len(y), dtype=torch.bool), y)

    def explain_real(self, images: Tensor, selection: Selection) -> ExplainedImages:
        """Of the images of a selection, `(N, C, H, W)` uint8."""
        return self.explain(to_unit_range(images), selection.y, selection.target)


def _without(eligible: Tensor, *drawn: Selection) -> Tensor:
    """The eligible images that are not drawn yet, `(T,)` bool."""
    left = eligible.clone()
    left[torch.cat([one.index for one in drawn])] = False
    return left


def _comparable(labels: Tensor, eligible: Tensor, config: SelectionSettings) -> Tensor:
    """The eligible images of the classes that are attacked, `(T,)` bool."""
    if config.source_class is not None:
        eligible = eligible & (labels == config.source_class)
    return eligible & (labels != config.target) if isinstance(config.target, int) else eligible


def _select_like(
    config: SelectionSettings, labels: Tensor, eligible: Tensor, splits: ImageSplits, count: int, seed: int
) -> Selection:
    """Draw honest images as the attacked ones are drawn: the detector sees y, and a contrast map depends on y'.

    The pairs of "every" are at random here: there need not be images enough to have each equally often.
    """
    target = "random" if config.target == "every" else config.target
    return select(labels, eligible, splits.class_names, count, config.source_class, target, seed)


def _explanation_tensors(maps: Mapping[str, Tensor], alarms: Mapping[str, Alarms]) -> dict[str, Tensor]:
    """What every explanation says of an attack's images; without the alarms that are not known."""
    tensors = {f"map_{key}": one for key, one in maps.items()}
    for key, one in alarms.items():
        tensors[f"abstained_{key}"] = one.abstained
        if one.alarm is not None:
            tensors[f"alarm_{key}"] = one.alarm
    return tensors


def _draw_pictures(context: StudyContext, evaluation: AttackEvaluation, name: str) -> None:
    """The attacked images, failures included."""
    result, victim = evaluation.result, evaluation.on_x_adv.victim.max(dim=1)
    context.drawing.draw(
        name,
        image_grid_figure,
        result.x,
        result.x_adv,
        result.y,
        result.target,
        victim.indices,
        victim.values,
        evaluation.on_x_adv.judge_reads,
        evaluation.verdict.success,
        context.splits.class_names,
        evaluation.generated,
    )
