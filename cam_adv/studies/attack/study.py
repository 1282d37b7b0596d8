"""Study `attack`: attack test images, judge and explain the adversarial images, and draw them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection, first_per_pair, select
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import evaluate_attack
from cam_adv.models.checks import MASKED_BELOW, finite_difference_agreement
from cam_adv.reports.events import write_events
from cam_adv.reports.files import attack_rates, rates_to_json, write_attack, write_results
from cam_adv.reports.hparams import hyperparameters
from cam_adv.reports.terminal import print_attack
from cam_adv.schema.run import RunSettings
from cam_adv.studies.attack.figures import draw_run
from cam_adv.studies.attack.preconditions import Preconditions, PreconditionSettings
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext

GRADIENT_IMAGES = 32
"""Test images on which the victim's gradient is compared with finite differences."""

SUMMARY = "summary"
"""Name of its result file, which sweeps read; other studies use their own names."""


class AttackStudy(Study):
    """Attacks selected test images by the config's attack.

    preconditions: what generator and judge must be able to do for the rates to mean something.
    """

    preconditions: PreconditionSettings

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return attack.roles | {"victim", "judge", "generator"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {"attack": attack}

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """See `Study.check`."""
        target = settings.selection.target
        if not attack.targeted and target != "random":
            raise UserError(
                f"selection.target={target}, but attack={attack.name} is untargeted: any class but y will do.",
                "Leave selection.target out, or use attack=type2_latent.",
            )

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        _select(settings, attack, splits, torch.ones(len(splits.test), dtype=torch.bool))

    def run(self, context: StudyContext) -> float:
        """Do the study; the success rate."""
        settings, attack, splits, test = context.settings, context.attack, context.splits, context.splits.test
        evaluator, device = context.evaluator(), context.device
        if evaluator.cam_head is None:
            print("The victim does not end in global average pooling and one linear layer: it has no exact CAMs.")
        images = to_unit_range(test.images[:GRADIENT_IMAGES].to(device))
        agreement = finite_difference_agreement(evaluator.victim, images)
        if agreement < MASKED_BELOW:
            print(
                f"The victim's gradient is masked: a short step along it agrees with finite differences on "
                f"{agreement:.0%} of {len(images)} images. The success rate of an attack says little about the "
                "robustness of this victim."
            )
        on_test = evaluator.predict(test.images)
        accuracy = {
            f"{name}_accuracy": (probs.argmax(dim=1) == test.labels).float().mean().item()
            for name, probs in (("victim", on_test.victim), ("judge", on_test.judge), ("f2", on_test.f2))
        }
        preconditions = Preconditions.measure(test, on_test, evaluator)
        for warning in preconditions.warnings(self.preconditions, on_test.codes.shape[1]):
            print(warning)
        eligible = on_test.victim.argmax(dim=1) == test.labels
        selection, examples = _select(settings, attack, splits, eligible)

        started = time.perf_counter()
        bound = context.bind()
        result, seconds_before = context.timed_attack(bound, selection)
        seconds = seconds_before + time.perf_counter() - started
        traces = context.run_attack(bound.with_full_trace(), examples)

        evaluation = evaluate_attack(attack, result, evaluator, splits)
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
        write_attack(evaluation, selection.index, folder / "attack.safetensors")
        write_results(evaluation, selection.index, attack.start_names, names, folder / "results.csv")
        draw_run(evaluation, traces, evaluator, attack, settings.selection, names, context.models, folder)
        summary = {"kind": attack.kind, "class_names": list(names)} | figures | rates_to_json(rates)
        hparams = hyperparameters(settings, attack, context.overrides)
        write_events(evaluation, evaluator, attack, names, hparams, summary, folder)
        print_attack(attack.kind, f"{attack.name} on {settings.dataset.name}", rates, figures)
        context.write_json(SUMMARY, summary)
        return rates["success"].rate


def count_starts(start: Tensor, names: Sequence[str]) -> Counter[str]:
    """How many results came from the starts of each name, which several starts may share."""
    counts = Counter(dict.fromkeys(names, 0))
    counts.update(names[number] for number in start.tolist())
    return counts


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
    images, source, target = config.images, config.source, config.target
    measured = select(labels, eligible, splits.num_classes, images, source, target, settings.seed)
    return measured, first_per_pair(labels, eligible, pairs)
