"""Study `attack`: attack test images or samples, judge and explain the adversarial images, and draw them."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from cam_adv.attacks.base import Attack, BoundAttack, Role
from cam_adv.attacks.latent.class_samples import sample_classes
from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection, draw_pairs, first_per_pair, select
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import SAMPLE, evaluate_attack
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.checks import MASKED_BELOW, finite_difference_agreement
from cam_adv.plots.attack_frames import latent_frames, pixel_frames
from cam_adv.reports.events import write_events
from cam_adv.reports.files import attack_rates, rates_to_json, write_attack, write_results
from cam_adv.reports.hparams import hyperparameters
from cam_adv.reports.terminal import print_attack
from cam_adv.reports.training_losses import training_losses
from cam_adv.runtime.quoting import written
from cam_adv.schema.attribution import AnyAttribution, RobustSettings
from cam_adv.schema.fields import Count
from cam_adv.schema.run import RunSettings
from cam_adv.schema.selection import GENERATED
from cam_adv.studies.attack.explanations import abstention_shares, explain_result
from cam_adv.studies.attack.figures import draw_run
from cam_adv.studies.attack.finished_attack import ATTACK, FIGURES, SUMMARY, Example, FigureData, FinishedAttack
from cam_adv.studies.attack.preconditions import Preconditions, PreconditionSettings
from cam_adv.studies.attack.walks import Walks
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext

log = logging.getLogger(__name__)

EVENTS = "events of TensorBoard"
"""What is written beside the figures, and not by `study=figures`."""

GRADIENT_IMAGES = 32
"""Test images on which the victim's gradient is compared with finite differences."""


class AttackStudy(Study):
    """Attacks selected test images, or samples of the generator, by the config's attack.

    preconditions: what generator and judge must be able to do for the rates to mean something.
    report_images: how many attacked images `report.html` shows.
    """

    attacks_samples: ClassVar[bool] = True
    draws_later: ClassVar[bool] = True

    preconditions: PreconditionSettings
    report_images: Count

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return attack.roles | {"victim", "judge", "generator"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {"attack": attack}

    def planned_attributions(self, settings: RunSettings) -> Mapping[str, AnyAttribution]:
        """See `Study.planned_attributions`."""
        return {f"attribution.{name}": one for name, one in settings.attribution.items()}

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """See `Study.check`."""
        target = settings.selection.target
        if "cam" in settings.attribution:
            raise UserError(
                "attribution=cam adds nothing: attack.safetensors of every run has the CAM of every class.",
                "Leave cam out of attribution.",
            )
        if sum(isinstance(one, RobustSettings) for one in settings.attribution.values()) > 1:
            raise UserError(
                f"attribution={list(settings.attribution)} has several robust interpretations, but abstained_x is of "
                "one.",
                "Keep one of them.",
            )
        if settings.selection.source == GENERATED:
            _check_attack_of_samples(attack)
        if not attack.targeted and target != "random":
            raise UserError(
                f"selection.target={target}, but attack={attack.name} is untargeted: any class but y will do.",
                "Leave selection.target out, or use attack=type2_latent.",
            )

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        if settings.selection.source == GENERATED:
            return
        _select(settings, attack, splits, torch.ones(len(splits.test), dtype=torch.bool))

    def run(self, context: StudyContext) -> float:
        """Do the study; the success rate."""
        settings, attack, splits, test = context.settings, context.attack, context.splits, context.splits.test
        evaluator, device = context.evaluator(), context.device
        if evaluator.cam_head is None:
            print(
                "The victim has no exact CAMs: no module puts out maps on which its logits depend through global "
                "average pooling and one linear layer alone."
            )
        images = to_unit_range(test.images[:GRADIENT_IMAGES].to(device))
        agreement = finite_difference_agreement(evaluator.victim, images)
        if agreement < MASKED_BELOW:
            print(
                f"The victim's gradient is masked: a short step along it agrees with finite differences on "
                f"{agreement:.0%} of {len(images)} images. The success rate of an attack says little about the "
                "robustness of this victim."
            )
        log.info("Predicting %d test images.", len(test))
        on_test = evaluator.predict(test.images)
        accuracy = {
            f"{name}_accuracy": (probs.argmax(dim=1) == test.labels).float().mean().item()
            for name, probs in (("victim", on_test.victim), ("judge", on_test.judge), ("f2", on_test.f2))
        }
        if context.models.surrogates:
            right = [context.correct(test, surrogate).float().mean().item() for surrogate in context.surrogates]
            accuracy["surrogates_accuracy"] = sum(right) / len(right)
        preconditions = Preconditions.measure(test, on_test, evaluator)
        warnings = preconditions.warnings(self.preconditions, on_test.codes.shape[1])
        for warning in warnings:
            print(warning)
        from_samples = settings.selection.source == GENERATED
        if from_samples:
            attacked, selection, examples = _sample(context)
        else:
            eligible = on_test.victim.argmax(dim=1) == test.labels
            attacked, (selection, examples) = test, _select(settings, attack, splits, eligible)

        started = time.perf_counter()
        bound = context.bind()
        result, seconds_before = context.timed_attack(bound, selection, attacked)
        seconds = seconds_before + time.perf_counter() - started

        log.info("Evaluating %d attacked images.", len(result))
        evaluation = evaluate_attack(attack, result, evaluator, splits, from_samples)
        rates = attack_rates(evaluation, attack.start_names)
        figures = {
            "images": len(result),
            "steps": attack.steps_per_init * len(attack.start_names),
            "seconds": round(seconds, 2),
            **accuracy,
            **asdict(preconditions),
            "finite_difference_agreement": agreement,
            "clusters": len(evaluation.cluster.unique()),
            "diverged": int(result.diverged.sum()),
            "median_distance": evaluation.latent_distance.median().item(),
            "median_norm": evaluation.on_x_adv.codes.norm(dim=1).median().item(),
            **({} if evaluation.residual is None else {"median_residual": _median_norm(evaluation.residual)}),
            **evaluation.distances.summary(),
            **{f"from_{start}": count for start, count in count_starts(result.start, attack.start_names).items()},
        }
        names, folder = splits.class_names, context.folder
        has_robust = any(isinstance(one, RobustSettings) for one in settings.attribution.values())
        interpretation = context.interpretation() if has_robust else None
        explanations = explain_result(context, result, interpretation)
        figures |= abstention_shares(explanations)
        write_attack(evaluation, selection.index, folder / ATTACK, explanations)
        write_results(evaluation, selection.index, attack.start_names, names, folder / "results.csv")
        about = {"kind": attack.kind, "class_names": list(names), "warnings": warnings}
        summary = about | figures | rates_to_json(rates)
        if from_samples:
            summary["x"] = SAMPLE
        heading = f"{attack.name} on {settings.dataset.name}" + (", each x a " + SAMPLE if from_samples else "")
        heading += ": no claim, for the reasons above" if warnings else ""
        context.write_json(SUMMARY, summary)
        print_attack(attack.kind, heading, rates, figures, from_samples)
        with context.drawing.attempt(EVENTS):
            hparams = hyperparameters(settings, attack, context.overrides)
            write_events(evaluation, evaluator, attack, names, hparams, summary, folder)
        if context.drawing.wanted:
            with context.drawing.attempt(FIGURES):
                log.info("Predicting along the walks of %d images.", min(len(result), self.report_images))
                data = FigureData(
                    examples=_trace(context, bound, examples, attacked, evaluator),
                    success=evaluation.verdict.success,
                    victim_keeps=evaluation.verdict.victim_keeps,
                    steps=attack.steps_per_init,
                    start_names=attack.start_names,
                    every_pair=settings.selection.target == "every",
                    trainings={
                        model.title: training_losses(model.training.entry.folder)
                        for model in context.models.all()
                        if model.training is not None
                    },
                    walks=Walks.record(result, evaluator, interpretation, self.report_images),
                )
                data.write(folder)
                if settings.figures is True:
                    log.info("Drawing the figures.")
                    draw_run(FinishedAttack.load(folder), context.drawing)
        if (folder / FIGURES).exists() and (settings.figures == "later" or set(context.drawing.failed) - {EVENTS}):
            print(f"figures   cam-adv study=figures {written('run', str(folder))}")
        return rates["success"].rate


def count_starts(start: Tensor, names: Sequence[str]) -> Counter[str]:
    """How many results came from the starts of each name, which several starts may share."""
    counts = Counter(dict.fromkeys(names, 0))
    counts.update(names[number] for number in start.tolist())
    return counts


def _trace(
    context: StudyContext, bound: BoundAttack, selection: Selection, data: LabelledImages, evaluator: Evaluator
) -> list[Example]:
    """Attack the example pairs with every step recorded, and predict what is shown of each trajectory."""
    traces = context.run_attack(bound.with_full_trace(), selection, data)
    frames_of = pixel_frames if traces.path is None else latent_frames
    if context.settings.selection.source == GENERATED:
        frames_of = partial(latent_frames, x_caption=SAMPLE)
    return [
        Example(y, target, frames_of(traces, row, context.attack.trace_points, evaluator))
        for row, (y, target) in enumerate(zip(traces.y.tolist(), traces.target.tolist(), strict=True))
    ]


def _median_norm(images: Tensor) -> float:
    return images.flatten(1).norm(dim=1).median().item()


def _select(
    settings: RunSettings, attack: Attack, splits: ImageSplits, eligible: Tensor
) -> tuple[Selection, Selection]:
    """The images that the metrics are measured on, and those whose trajectories are drawn.

    Args:
        eligible: which test images may be selected, `(T,)`.

    Raises:
        UserError: too few are eligible.
    """
    labels, config, pairs = splits.test.labels, settings.selection, settings.dataset.example_pairs
    if not attack.targeted:  # it has no target class, so one image of each source class is drawn
        pairs = list(dict(pairs).items())
    images, source, target = config.images, config.source_class, config.target
    measured = select(labels, eligible, splits.class_names, images, source, target, settings.seed)
    return measured, first_per_pair(labels, eligible, splits.class_names, pairs)


def _sample(context: StudyContext) -> tuple[LabelledImages, Selection, Selection]:
    """The same two where the generator draws the pictures, and before them the pictures: samples of y'.

    Raises:
        UserError: the generator can't draw a class.
    """
    settings, splits = context.settings, context.splits
    config, seed = settings.selection, settings.seed
    measured = draw_pairs(splits.num_classes, config.images, config.target, seed)
    y, target = (torch.tensor(classes) for classes in zip(*settings.dataset.example_pairs, strict=True))
    examples = Selection(len(measured) + torch.arange(len(y)), y, target)
    density = LatentDensity.of(context.generator, splits.train)
    labels = torch.cat([measured.target, examples.target])
    return sample_classes(context.generator, density, labels, splits.class_names, seed + 1), measured, examples


def _check_attack_of_samples(attack: Attack) -> None:
    """Refuse an attack that can't start from the generator's samples of y'."""
    if attack.kind != "type1" or "generator" not in attack.roles:
        reason = "has no generator to draw them" if attack.kind == "type1" else "is a Type II attack"
        raise UserError(
            f"selection.source=generated starts from samples of the generator, but attack={attack.name} {reason}.",
            "Use attack=type1, or leave selection.source out.",
        )
    if attack.start_names != ["mean"]:
        raise UserError(
            "selection.source=generated starts from samples of the generator, but "
            f"attack.init={attack.start_names} from other codes, too.",
            "Set attack.init to [mean], or leave selection.source out.",
        )
    if attack.needs_exact_cam:
        raise UserError(
            f"attack={attack.name} keeps the map of y as it is on an image of y, but with selection.source=generated "
            "there is none.",
            "Use attack=type1, or leave selection.source out.",
        )
