"""Study `explanation_reliability`: is an explanation reliable under a Type I attack?

Three claims, measured apart, each of which may fail: see `claims`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, BoundAttack, Role
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection, first_per_pair
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.metrics.funnel import ATTEMPTED
from cam_adv.metrics.intervals import Rate, clustered_rate
from cam_adv.metrics.success import AttackVerdict, type1_verdict
from cam_adv.models.predictions import batched_apply
from cam_adv.plots.attack_frames import draw_trace, latent_frames
from cam_adv.reports.terminal import print_attack
from cam_adv.runtime.digest import digest
from cam_adv.runtime.run_dir import BATCHES
from cam_adv.runtime.slugify import slugify
from cam_adv.runtime.source_hash import source_hash, targets_in
from cam_adv.runtime.tensor_files import save_tensors
from cam_adv.schema.run import RunSettings
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext, one_of_each_class
from cam_adv.studies.explanation_reliability.attack_pairs import make_attack_pairs
from cam_adv.studies.explanation_reliability.claims import (
    ATTACK,
    CLAIMS,
    HIGH_CONFIDENCE,
    Claims,
    Findings,
    primary_findings,
    ranking,
)
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig
from cam_adv.studies.explanation_reliability.controls import AttackedImages, without_victim
from cam_adv.studies.explanation_reliability.controls_report import (
    dissimilarities_figure,
    mean_dissimilarities,
    print_dissimilarities,
)
from cam_adv.studies.explanation_reliability.finding import NO_FINDING
from cam_adv.studies.explanation_reliability.measurements import (
    Measurements,
    concatenate,
    load_measurements,
    measure_attributions,
    save_measurements,
)
from cam_adv.studies.explanation_reliability.page import write_page
from cam_adv.studies.explanation_reliability.report import (
    findings_to_json,
    print_reliability,
    reliability_figure,
    write_measures,
)
from cam_adv.studies.explanation_reliability.sampling import sample_pairs
from cam_adv.studies.explanation_reliability.softmax_invariance_report import softmax_invariance_figure
from cam_adv.studies.explanation_reliability.study_models import (
    RANDOM_WEIGHTS,
    SHUFFLED_LABELS,
    build_victims,
    build_with_random_weights,
    build_with_shuffled_labels,
)
from cam_adv.studies.explanation_reliability.trajectory import Trajectory, trace_attributions
from cam_adv.studies.explanation_reliability.trajectory_report import (
    attributions_figure,
    trajectories_figure,
    write_trajectories,
)
from cam_adv.training.model_zoo import ModelHandle, ModelZoo

MeasurementsByAttack = dict[str, list[dict[str, Measurements]]]
"""Attack → for each victim on which it ever succeeded, attribution method → what was measured."""


log = logging.getLogger(__name__)


class ExplanationReliability(Study, ReliabilityConfig):
    """Trains several victims, attacks each twice, explains every image, and answers the three claims."""

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`; the victims are further models."""
        others: frozenset[Role] = frozenset({"judge", "generator"})
        return (attack.roles | others) - {"victim"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {"attack": attack}

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """See `Study.check`."""
        if attack.kind != "type1" or not isinstance(attack, LatentAttack):
            raise UserError(
                f"attack={attack.name} is {'no latent' if attack.kind == 'type1' else 'a Type II'} attack, but "
                f"study={self.name} asks what explanations show of latent Type I attacks.",
                "Choose a Type I attack, such as attack=type1.",
            )
        if self.confidence <= attack.confidence:
            raise UserError(
                f"study.confidence={self.confidence} makes no stronger attack than "
                f"attack.confidence={attack.confidence}.",
                "Raise study.confidence, or lower attack.confidence.",
            )
        if len(self.victims) > 1 and settings.model.victim.training is None:
            raise UserError(
                f"study.victims asks for {len(self.victims)} retrained victims, but this one comes trained.",
                "Set study.victims=[0], or give it a model.victim.training.",
            )

    def check_classes(self, num_classes: int, dataset: str) -> None:
        """See `Study.check_classes`."""
        if self.targets >= num_classes:
            raise UserError(
                f"study.targets={self.targets}, but an image of {dataset} has {num_classes - 1} other classes.",
                f"Set study.targets to {num_classes - 1} or less.",
            )

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        every = torch.ones(len(splits.test), dtype=torch.bool)
        self.sample(settings, splits, every)
        first_per_pair(splits.test.labels, every, splits.class_names, settings.dataset.example_pairs)

    def build_models(
        self, settings: RunSettings, attack: Attack, splits: ImageSplits, zoo: ModelZoo
    ) -> Mapping[str, ModelHandle]:
        """See `Study.build_models`.

        Raises:
            UserError: a victim has no exact CAM.
        """
        victim = settings.model.victim
        victims = build_victims(victim, self.victims, zoo)
        LayerTarget.with_exact_cam(victims[self.victims[0]].network, one_of_each_class(splits.test))
        models = {_victim_name(seed): model for seed, model in victims.items()}
        if victim.training is not None:
            models[SHUFFLED_LABELS] = build_with_shuffled_labels(victim, self.victims[0], zoo, settings.seed)
        return models

    def run(self, context: StudyContext) -> float:
        """How often the attack succeeded, over all victims."""
        attack = context.attack
        assert isinstance(attack, LatentAttack)  # `check` has made sure of it
        victims = _Victims(self, context)
        # Without the victim's term the attack is the same whoever the victim is.
        no_victim = context.bind(without_victim(attack), victims.network(self.victims[0]))
        transition = context.run_attack(no_victim, victims.selection).x_adv
        attacks = {ATTACK: attack, HIGH_CONFIDENCE: high_confidence_variant(attack, self.confidence)}
        measured: MeasurementsByAttack = {name: [] for name in attacks}
        verdicts: dict[str, list[AttackVerdict]] = {name: [] for name in attacks}
        for seed in self.victims:
            for name, one in attacks.items():
                result = context.run_attack(context.bind(one, victims.network(seed)), victims.selection)
                verdict = victims.verdict(result, seed, one.confidence)
                path = context.folder / f"{name}_{seed}.safetensors"
                _save(result, victims.selection, verdict, path)
                verdicts[name].append(verdict)
                if verdict.success.any():
                    measured[name].append(victims.measure_once(name, result, verdict, transition, seed))
        rates = {name: _rates(of, victims.selection.index) for name, of in verdicts.items()}
        self._report(context, victims, measured, rates)
        return rates[ATTACK]["success"].rate

    def sample(self, settings: RunSettings, splits: ImageSplits, eligible: Tensor) -> Selection:
        """The attacked images and their targets, the same for every victim, among the `eligible` `(T,)`.

        Raises:
            UserError: there are fewer than asked for.
        """
        labels, source = splits.test.labels, settings.selection.source_class
        return sample_pairs(labels, eligible, splits.num_classes, self.images, self.targets, source, settings.seed)

    def _findings(self, seed: int, measured: Sequence[Mapping[str, Measurements]]) -> Findings:
        """The three claims about each attribution method, from what was measured on every victim."""
        if not measured:
            return {name: dict.fromkeys(CLAIMS, NO_FINDING) for name in self.attributions}
        rows = {name: concatenate([one[name].rows for one in measured]) for name in self.attributions}
        pairs = {name: concatenate([one[name].pairs for one in measured]) for name in self.attributions}
        claims = Claims(self, seed)
        found = claims.instability(rows), claims.unfaithfulness(rows), claims.concealment(pairs)
        return {
            name: {claim: of[name] for claim, of in zip(CLAIMS, found, strict=True)} for name in self.attributions
        }

    def _report(
        self,
        context: StudyContext,
        victims: "_Victims",
        measured: MeasurementsByAttack,
        rates: Mapping[str, Mapping[str, Rate]],
    ) -> None:
        """The study's JSON and page, `attacks.json`, `measures.csv`, `trajectories.csv`, figures, tables."""
        folder = context.folder
        log.info("Testing the claims.")
        findings = {name: self._findings(context.settings.seed, of) for name, of in measured.items()}
        primary = primary_findings(findings)
        order = ranking(primary)
        write_measures(measured, folder / "measures.csv")
        dissimilarities = mean_dissimilarities(measured[ATTACK])
        if dissimilarities:
            print_dissimilarities(dissimilarities)
        log.info("Following the maps along %d trajectories.", self.trajectories)
        trajectories = victims.trajectories()
        write_trajectories(trajectories, folder / "trajectories.csv")
        content = findings_to_json(findings)
        settings, attack, drawing = context.settings, context.attack, context.drawing
        attacks: dict[str, Any] = {
            "images": self.images,
            "targets": self.targets,
            "victims": self.victims,
            "ranking": order,
        }
        attacks |= {name: {key: asdict(rate) for key, rate in of.items()} for name, of in rates.items()}
        context.write_json("attacks", attacks)
        no_claim = context.no_claim()
        for name, of in rates.items():
            rows = {"rows": len(victims.selection) * len(self.victims)}
            print_attack(attack.kind, f"{attack.name}, {name.replace('_', ' ')}, on every victim{no_claim}", of, rows)
        print_reliability(primary, order)
        log.info("Drawing the figures.")
        if dissimilarities:
            drawing.draw("controls.png", dissimilarities_figure, dissimilarities)
        drawing.draw("trajectories.png", trajectories_figure, trajectories)
        drawing.draw(f"{self.name}.png", reliability_figure, primary, order, self.min_effect)
        drawing.draw("softmax_invariance.png", victims.softmax_invariance)
        if drawing.wanted:
            with drawing.attempt("examples"):
                victims.draw_examples()
        title = {
            "dataset": settings.dataset.name,
            "victim": settings.model.victim.name,
            "attack": attack.name,
        }
        write_page(self, title, content, order, rates, folder)
        context.write_json(self.name, content)


def high_confidence_variant(attack: LatentAttack, confidence: float) -> LatentAttack:
    """The same attack that asks more confidence of the victim, as its criterion and as the constraint of its penalty.

    The published rule for k has no confidence: then the attack is the same, and fewer of its images count.
    """
    penalty = attack.penalty | ({"confidence": confidence} if "confidence" in attack.penalty else {})
    return attack.model_copy(update={"confidence": confidence, "penalty": penalty})


class _Victims:
    """The victims, and what is the same for all attacks on them.

    correct: by the victim's seed, which test images it classifies correctly, `(T,)`.
    selection: what is attacked.
    """

    def __init__(self, study: ExplanationReliability, context: StudyContext) -> None:
        self.study, self.context = study, context
        test = context.splits.test
        self.correct = {seed: context.correct(test, self.network(seed)) for seed in study.victims}
        by_all = torch.stack(list(self.correct.values())).all(dim=0)
        self.selection = study.sample(context.settings, context.splits, by_all)

    def network(self, seed: int) -> nn.Module:
        """A victim, on the device."""
        return self.context.network(self.context.further_models[_victim_name(seed)])

    def verdict(self, result: AttackResult, seed: int, confidence: float) -> AttackVerdict:
        """The verdict on the attacked images of one victim."""
        device = self.context.device
        victim_probs = batched_apply(self.network(seed), result.x_adv, device).softmax(dim=1)
        judge_reads = self.context.judge.read(result.x_adv, device).reads
        return type1_verdict(victim_probs, judge_reads, result.y, result.target, confidence)

    def measure_once(
        self, name: str, result: AttackResult, verdict: AttackVerdict, transition: Tensor, seed: int
    ) -> dict[str, Measurements]:
        """`measure`, unless this run has done so before it was interrupted."""
        tensors = {"x_adv": result.x_adv, "success": verdict.success, "transition": transition}
        code = source_hash(measure_attributions, make_attack_pairs, *targets_in(self.study.model_dump()))
        plain = {"attack": name, "victim": seed, "code": code}
        path = self.context.folder / BATCHES / f"measured_{digest(plain, tensors)}.safetensors"
        if path.exists():
            return load_measurements(path)
        # Two more networks cost as much as the controls; one attack is enough to see what they show.
        log.info("Measuring the maps of victim %d under the %s.", seed, name.replace("_", " "))
        measured = self.measure(result, verdict, transition, seed, sanity_check=name == ATTACK)
        save_measurements(measured, path)
        return measured

    def measure(
        self, result: AttackResult, verdict: AttackVerdict, transition: Tensor, seed: int, sanity_check: bool
    ) -> dict[str, Measurements]:
        """Make the controls of the successes, and measure all maps."""
        context, success, correct = self.context, verdict.success, self.correct[seed].nonzero().squeeze(1)
        assert result.z0 is not None  # a latent attack has codes
        assert result.z is not None
        attacked = AttackedImages(
            self.selection.index[success],
            result.y[success],
            result.target[success],
            result.x[success],
            result.x_adv[success],
            result.z0[success],
            result.z[success],
            transition[success],
            context.generator,
            context.splits.test[correct],
            correct,
            context.splits.class_names,
            context.settings.seed,
        )
        layer_target = context.layer_target(self.network(seed))
        pairs = make_attack_pairs(seed, layer_target, attacked, self.selection.index, self.study.controls)
        models = self._sanity_check_models() if sanity_check else {}
        return measure_attributions(pairs, self.study, models, context.settings.seed, context.device)

    def draw_examples(self) -> None:
        """How the example images change, and the first victim's maps with them.

        `<source>_to_<target>.png` has the CAM frame by frame, `attributions_<source>_to_<target>.png` every map.
        """
        context, seed, names = self.context, self.study.victims[0], self.context.splits.class_names
        labels, pairs = context.splits.test.labels, context.settings.dataset.example_pairs
        selection = first_per_pair(labels, self.correct[seed], names, pairs)
        traces = context.run_attack(self._with_full_trace(), selection)
        evaluator, count = context.evaluator(self.network(seed)), context.attack.trace_points
        for row, trajectory in enumerate(self._trace_attributions(traces, range(len(traces)), evaluator)):
            source, target = names[int(traces.y[row])], names[int(traces.target[row])]
            frames = latent_frames(traces, row, count, evaluator)
            with context.drawing.attempt(f"{source} to {target}"):
                draw_trace(frames, source, target, names, context.drawing.folder)
            name = slugify(f"attributions_{source}_to_{target}.png")
            context.drawing.draw(name, attributions_figure, trajectory, names)

    def softmax_invariance(self) -> Figure:
        """Two networks with equal predictions on the first attacked image and opposite maps."""
        selection, splits, network = self.selection, self.context.splits, self.network(self.study.victims[0]).cpu()
        x = to_unit_range(splits.test.images[selection.index[:1]])
        y, target = selection.y[:1], selection.target[:1]
        return softmax_invariance_figure(network, x, y, target, splits.class_names)

    def trajectories(self) -> list[Trajectory]:
        """The first attacked images of the first victim on which the attack succeeds, moment by moment."""
        seed, attack = self.study.victims[0], self.context.attack
        assert attack.confidence is not None  # a Type I attack has one
        traces = self.context.run_attack(self._with_full_trace(), self.selection.first(self.study.trajectories))
        success = self.verdict(traces, seed, attack.confidence).success
        evaluator = self.context.evaluator(self.network(seed))
        return self._trace_attributions(traces, success.nonzero().flatten().tolist(), evaluator)

    def _with_full_trace(self) -> BoundAttack:
        return self.context.bind(victim=self.network(self.study.victims[0])).with_full_trace()

    def _trace_attributions(
        self, traces: AttackResult, rows: Iterable[int], evaluator: Evaluator
    ) -> list[Trajectory]:
        count, layer_target = self.context.attack.trace_points, self.context.layer_target(evaluator.victim)
        return [
            trace_attributions(traces, row, count, evaluator, layer_target, self.study.attributions) for row in rows
        ]

    def _sanity_check_models(self) -> dict[str, nn.Module]:
        """By name; none of a victim that comes trained."""
        context, victim = self.context, self.context.settings.model.victim
        if SHUFFLED_LABELS not in context.further_models:
            return {}
        random_weights = build_with_random_weights(victim, self.study.victims[0], context.zoo)
        return {
            RANDOM_WEIGHTS: random_weights,
            SHUFFLED_LABELS: context.network(context.further_models[SHUFFLED_LABELS]),
        }


def _victim_name(seed: int) -> str:
    return f"victim {seed}"


def _save(result: AttackResult, selection: Selection, verdict: AttackVerdict, path: Path) -> None:
    tensors = {name: getattr(result, name) for name in ("x", "x_adv", "z0", "z", "y", "target")}
    save_tensors(tensors | {"index": selection.index, "success": verdict.success}, path)


def _rates(verdicts: Sequence[AttackVerdict], image: Tensor) -> dict[str, Rate]:
    """Over all victims, with intervals for rows that depend on each other by their image `(N,)`."""
    met = {name: torch.cat([vars(verdict)[name] for verdict in verdicts]) for name in vars(verdicts[0])}
    cluster = image.repeat(len(verdicts)).tolist()
    rates = {name: clustered_rate(one.tolist(), cluster) for name, one in met.items()}
    return {"attempted": ATTEMPTED} | rates
