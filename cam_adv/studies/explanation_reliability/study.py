"""Study `explanation_reliability`: is an explanation reliable under a Type I attack?

Three claims, measured apart, each of which may fail: see `claims`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, BoundAttack, Role
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection, first_per_pair
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.clusters import connected_clusters
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
from cam_adv.studies.base import Study, roles_of
from cam_adv.studies.context import StudyContext, one_of_each_class
from cam_adv.studies.explanation_reliability.attack_pairs import make_attack_pairs
from cam_adv.studies.explanation_reliability.claims import (
    ATTACK,
    CLAIMS,
    DECIDED_ON,
    HIGH_CONFIDENCE,
    MAIN,
    Claims,
    Findings,
    primary_findings,
    ranking,
    withhold,
)
from cam_adv.studies.explanation_reliability.config import AttributionSettings, ReliabilityConfig
from cam_adv.studies.explanation_reliability.controls import AttackedImages, without_victim
from cam_adv.studies.explanation_reliability.controls_report import (
    dissimilarities_figure,
    mean_dissimilarities,
    print_dissimilarities,
)
from cam_adv.studies.explanation_reliability.finding import NO_FINDING
from cam_adv.studies.explanation_reliability.known_attributions import EXPECTED, LADDER
from cam_adv.studies.explanation_reliability.measurements import (
    Measurements,
    concatenate,
    load_measurements,
    measure_attributions,
    measure_planted_cue,
    save_measurements,
)
from cam_adv.studies.explanation_reliability.meta_evaluation import (
    KnownAnswer,
    check_known_answers,
    known_answers_to_json,
    overall,
    print_known_answers,
)
from cam_adv.studies.explanation_reliability.page import write_page
from cam_adv.studies.explanation_reliability.plan import Plan
from cam_adv.studies.explanation_reliability.planted_cue import planted_pairs
from cam_adv.studies.explanation_reliability.power import print_power, study_power
from cam_adv.studies.explanation_reliability.report import (
    findings_to_json,
    print_arms,
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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """An attack, its high-confidence variant, how many of the images both get, and what explains their results."""

    name: str
    attack: LatentAttack
    strong: LatentAttack
    images: int
    attributions: Mapping[str, AttributionSettings]

    @property
    def attacks(self) -> dict[str, LatentAttack]:
        """The attack and its variant, by what the claims call them."""
        return {ATTACK: self.attack, HIGH_CONFIDENCE: self.strong}

    def title(self, of: str) -> str:
        """What the results of one of `attacks` are called in files: unlike those of any other arm."""
        return of.replace(ATTACK, self.name)


@dataclass(frozen=True)
class _ArmResults:
    """What one arm's attacks did to all victims, by what the claims call the attacks.

    measured: for each victim on which the attack ever succeeded, attribution method → what was measured.
    rates: criterion → share of all rows.
    """

    arm: Arm
    measured: dict[str, list[dict[str, Measurements]]]
    rates: dict[str, dict[str, Rate]]


class ExplanationReliability(Study, ReliabilityConfig):
    """Trains several victims, attacks each by every arm, explains every image, and answers the three claims."""

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`; the victims are further models."""
        others: frozenset[Role] = frozenset({"judge", "generator"})
        return (roles_of(self.planned_attacks(attack).values()) | others) - {"victim"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {"attack": attack} | {f"study.arms.{name}.attack": arm.attack for name, arm in self.arms.items()}

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """See `Study.check`."""
        for path, one in self.planned_attacks(attack).items():
            if one.kind != "type1" or not isinstance(one, LatentAttack):
                raise UserError(
                    f"{path}={one.name} is {'no latent' if one.kind == 'type1' else 'a Type II'} attack, but "
                    f"study={self.name} asks what explanations show of latent Type I attacks.",
                    "Choose a Type I attack, such as attack=type1.",
                )
            if self.confidence <= one.confidence:
                raise UserError(
                    f"study.confidence={self.confidence} makes no stronger attack than "
                    f"{path}.confidence={one.confidence}.",
                    f"Raise study.confidence, or lower {path}.confidence.",
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
        """How often the attack of the config succeeded, over all victims."""
        assert isinstance(context.attack, LatentAttack)  # `check` has made sure of it
        settings, arms = context.settings, self._arms(context.attack)
        attacks = {arm.title(of): attack for arm in arms for of, attack in arm.attacks.items()}
        parts = context.splits.train, context.splits.validation, context.splits.test
        plan = Plan.of(self, attacks, settings, [part.digest() for part in parts])
        plan.write(context.folder)
        powers = study_power(self)
        print_power(powers, self.min_effect.model_dump())
        victims = _Victims(self, context)
        results = [victims.attack_by(arm) for arm in arms]
        self._report(context, victims, plan, results)
        return results[0].rates[ATTACK]["success"].rate

    def sample(self, settings: RunSettings, splits: ImageSplits, eligible: Tensor) -> Selection:
        """The attacked images and their targets, the same for every victim, among the `eligible` `(T,)`.

        Raises:
            UserError: there are fewer than asked for.
        """
        labels, source = splits.test.labels, settings.selection.source_class
        return sample_pairs(labels, eligible, splits.num_classes, self.images, self.targets, source, settings.seed)

    def _arms(self, attack: LatentAttack) -> list[Arm]:
        """The configured attack, which explanations with a known answer are made from, and the further ones."""
        arms = [Arm(MAIN, attack, high_confidence_variant(attack, self.confidence), self.images, self.attributions)]
        for name, arm in self.arms.items():
            assert isinstance(arm.attack, LatentAttack)  # `check` has made sure of it
            strong = high_confidence_variant(arm.attack, self.confidence)
            explained = {key: self.attributions[key] for key in arm.attributions}
            arms.append(Arm(name, arm.attack, strong, min(arm.images, self.images), explained))
        return arms

    def _findings(self, measured: Sequence[Mapping[str, Measurements]], names: Iterable[str]) -> Findings:
        """The claims about each of these attribution methods, from what was measured on every victim."""
        return Claims(self).decide(_concatenated(measured, names))

    def _check_known_answers(
        self, measured: Mapping[str, Sequence[Mapping[str, Measurements]]], planted: Mapping[str, Measurements]
    ) -> list[KnownAnswer]:
        """
        Args:
            measured: under the configured attack and its variant, on every victim. planted: see `planted_cue`.
        """
        # Each alone: a correction for many explanations guards discoveries, and among known answers there are none.
        found = {
            of: {known: finding for one in EXPECTED for known, finding in self._findings(tables, [one]).items()}
            | {known: finding for one in planted for known, finding in self._findings([planted], [one]).items()}
            for of, tables in measured.items()
        }
        ladder = self._findings(measured[DECIDED_ON["instability"]], LADDER)
        return check_known_answers(found, [by_claim["instability"] for by_claim in ladder.values()])

    def _report(
        self, context: StudyContext, victims: "_Victims", plan: Plan, results: Sequence["_ArmResults"]
    ) -> None:
        """The study's JSON and page, `attacks.json`, `measures.csv`, `trajectories.csv`, figures, tables."""
        folder, main = context.folder, results[0]
        log.info("Testing the claims.")
        known_answers = self._check_known_answers(main.measured, victims.planted())
        print_known_answers(known_answers)
        findings = {result.arm.name: self._findings_of(result) for result in results}
        if overall(known_answers) != "right":
            findings = {
                name: {of: withhold(found) for of, found in by_attack.items()} for name, by_attack in findings.items()
            }
        primary = {name: primary_findings(by_attack) for name, by_attack in findings.items()}
        order = ranking(primary[MAIN])
        measured = {result.arm.title(of): tables for result in results for of, tables in result.measured.items()}
        write_measures(measured, folder / "measures.csv")
        dissimilarities = mean_dissimilarities(main.measured[ATTACK], self.attributions)
        if dissimilarities:
            print_dissimilarities(dissimilarities)
        log.info("Following the maps along %d trajectories.", self.trajectories)
        trajectories = victims.trajectories()
        write_trajectories(trajectories, folder / "trajectories.csv")
        rates = {result.arm.title(of): of_rates for result in results for of, of_rates in result.rates.items()}
        attacks: dict[str, Any] = {
            "images": self.images,
            "targets": self.targets,
            "victims": self.victims,
            "ranking": order,
        }
        attacks |= {name: {key: asdict(rate) for key, rate in of.items()} for name, of in rates.items()}
        context.write_json("attacks", attacks)
        no_claim = context.no_claim()
        for result in results:
            for of, of_rates in result.rates.items():
                title = f"{result.arm.attack.name}, {of.replace('_', ' ')}, on every victim{no_claim}"
                rows = {"rows": result.arm.images * self.targets * len(self.victims)}
                print_attack(result.arm.attack.kind, title, of_rates, rows)
        print_reliability(primary[MAIN], order)
        others = {name: found for name, found in primary.items() if name != MAIN}
        if others:
            print_arms(others)
        settings, drawing = context.settings, context.drawing
        log.info("Drawing the figures.")
        if dissimilarities:
            drawing.draw("controls.png", dissimilarities_figure, dissimilarities)
        drawing.draw("trajectories.png", trajectories_figure, trajectories)
        further = {f"{key}, {arm}": of for arm, found in others.items() for key, of in found.items()}
        lines = [*order, *further]
        drawing.draw(f"{self.name}.png", reliability_figure, primary[MAIN] | further, lines, self.min_effect)
        drawing.draw("softmax_invariance.png", victims.softmax_invariance)
        if drawing.wanted:
            with drawing.attempt("examples"):
                victims.draw_examples()
        content = {
            "plan": {"digest": plan.digest, "changed_since": plan.changes(folder)},
            "power": plan.content["power"],
            "meta_evaluation": known_answers_to_json(known_answers),
            "attributions": findings_to_json(findings[MAIN]),
            "arms": {name: findings_to_json(findings[name]) for name in others},
        }
        names = {
            "dataset": settings.dataset.name,
            "victim": settings.model.victim.name,
            "attack": context.attack.name,
        }
        write_page(self, names, content, order, rates, folder)
        context.write_json(self.name, content)

    def _findings_of(self, result: "_ArmResults") -> dict[str, Findings]:
        """By attack of the arm."""
        nothing: Findings = {name: dict.fromkeys(CLAIMS, NO_FINDING) for name in result.arm.attributions}
        return {
            of: self._findings(tables, result.arm.attributions) if tables else nothing
            for of, tables in result.measured.items()
        }


def high_confidence_variant(attack: LatentAttack, confidence: float) -> LatentAttack:
    """The same attack that asks more confidence of the victim, as its criterion and as the constraint of its penalty.

    The published rule for k has no confidence: then the attack is the same, and fewer of its images count.
    """
    penalty = attack.penalty | ({"confidence": confidence} if "confidence" in attack.penalty else {})
    return attack.model_copy(update={"confidence": confidence, "penalty": penalty})


class _Victims:
    """The victims, and what is the same for all attacks on them.

    density: of the codes of training images. reconstructed: G(mu(x)) of all test images, `(T, C, H, W)`.
    correct: by the victim's seed, which test images it classifies correctly, `(T,)`.
    selection: what is attacked. transitions: results of attacks without the victim's constraint.
    """

    def __init__(self, study: ExplanationReliability, context: StudyContext) -> None:
        self.study, self.context = study, context
        self.transitions: dict[str, Tensor] = {}
        test = context.splits.test
        self.density = LatentDensity.of(context.generator, context.splits.train)
        self.reconstructed = batched_apply(context.generator.reconstruct, test.images, context.device)
        self.correct = {seed: context.correct(test, self.network(seed)) for seed in study.victims}
        by_all = torch.stack(list(self.correct.values())).all(dim=0)
        self.selection = study.sample(context.settings, context.splits, by_all)

    def attack_by(self, arm: Arm) -> _ArmResults:
        """Attack every victim, save each result, and measure its successes."""
        folder, selection = self.context.folder, self.selection.first(arm.images * self.study.targets)
        measured: dict[str, list[dict[str, Measurements]]] = {of: [] for of in arm.attacks}
        verdicts: dict[str, list[AttackVerdict]] = {of: [] for of in arm.attacks}
        starts: dict[str, list[Tensor]] = {of: [] for of in arm.attacks}
        for seed in self.study.victims:
            transition = self._transition(arm, selection, seed)
            for of, attack in arm.attacks.items():
                result = self.context.run_attack(self.context.bind(attack, self.network(seed)), selection)
                verdict = self.verdict(result, seed, attack.confidence)
                _save(result, selection, verdict, folder / f"{arm.title(of)}_{seed}.safetensors")
                verdicts[of].append(verdict)
                starts[of].append(_start(result))
                if verdict.success.any():
                    measured[of].append(self.measure_once(arm, of, result, verdict, transition, seed))
        rates = {of: _rates(met, selection.index, starts[of]) for of, met in verdicts.items()}
        return _ArmResults(arm, measured, rates)

    def planted(self) -> dict[str, Measurements]:
        """Explanations of a victim and an attack that are known themselves."""
        context, study = self.context, self.study
        splits, seed = context.splits, context.settings.seed
        pairs = planted_pairs(splits.test, self.selection, study.matched, splits.num_classes, seed)
        return measure_planted_cue(pairs, study, seed, context.device)

    def _transition(self, arm: Arm, selection: Selection, seed: int) -> Tensor:
        """x' of the arm's attack without the victim's constraint, from the start that it has on this victim."""
        attack = without_victim(arm.attack)
        if not attack.uses_real_images:
            seed = self.study.victims[0]  # then it is the same whoever the victim is, and made once
        key = digest(
            {"attack": attack.model_dump(mode="json", exclude={"name"}), "victim": seed}, {"index": selection.index}
        )
        if key not in self.transitions:
            self.transitions[key] = self.context.run_attack(
                self.context.bind(attack, self.network(seed)), selection
            ).x_adv
        return self.transitions[key]

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
        self, arm: Arm, of: str, result: AttackResult, verdict: AttackVerdict, transition: Tensor, seed: int
    ) -> dict[str, Measurements]:
        """`measure`, unless this run has done so before it was interrupted."""
        tensors = {"x_adv": result.x_adv, "success": verdict.success, "transition": transition}
        code = source_hash(measure_attributions, make_attack_pairs, *targets_in(self.study.model_dump()))
        plain = {"attack": arm.title(of), "victim": seed, "code": code}
        path = self.context.folder / BATCHES / f"measured_{digest(plain, tensors)}.safetensors"
        if path.exists():
            return load_measurements(path)
        log.info("Measuring the maps of victim %d under the %s.", seed, arm.title(of).replace("_", " "))
        measured = self.measure(arm, of, result, verdict, transition, seed)
        save_measurements(measured, path)
        return measured

    def measure(
        self, arm: Arm, of: str, result: AttackResult, verdict: AttackVerdict, transition: Tensor, seed: int
    ) -> dict[str, Measurements]:
        """Make the controls of the successes of one of the arm's attacks, and measure all maps.

        The slowest is measured without the demand for high confidence alone: H2, controls that are not matched, other
        measures of change, and under the configured attack two more networks.
        """
        context, network, success = self.context, self.network(seed), verdict.success
        correct = self.correct[seed].nonzero().squeeze(1)
        assert result.z0 is not None  # a latent attack has codes
        assert result.z_start is not None
        assert result.z is not None
        attacked = AttackedImages(
            self.selection.first(len(success)).index[success],
            result.y[success],
            result.target[success],
            result.x[success],
            result.x_adv[success],
            result.z0[success],
            result.z_start[success],
            result.z[success],
            transition[success],
            network,
            context.generator,
            self.density,
            context.splits.test[correct],
            correct,
            self.reconstructed[correct],
            context.splits.class_names,
            context.settings.seed,
        )
        main, complete = arm.name == MAIN, of == ATTACK
        controls = self.study.controls
        if not complete:
            controls = {name: controls[name] for name in self.study.matched}
        pairs = make_attack_pairs(
            seed,
            context.layer_target(network),
            attacked,
            _start(result)[success],
            self.selection.index,
            controls,
        )
        return measure_attributions(
            pairs,
            self.study,
            arm.attributions,
            self._sanity_check_models() if main and complete else {},
            complete,
            main,
            context.settings.seed,
            context.device,
        )

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
    tensors = {name: getattr(result, name) for name in ("x", "x_adv", "z0", "z_start", "z", "y", "target")}
    save_tensors(tensors | {"index": selection.index, "success": verdict.success}, path)


def _start(result: AttackResult) -> Tensor:
    """The code of the start that led to x', and y, `(N, D + 1)`: results that share both depend on each other."""
    assert result.z_start is not None  # a latent attack has codes
    return torch.cat([result.z_start, result.y[:, None].to(result.z_start)], dim=1)


def _concatenated(measured: Sequence[Mapping[str, Measurements]], names: Iterable[str]) -> dict[str, Measurements]:
    """The rows of all victims, of those attribution methods that were measured."""
    return {
        name: Measurements(
            *(
                concatenate([vars(one[name])[table] for one in measured])
                for table in ("rows", "pairs", "reconstructed_pairs")
            )
        )
        for name in names
        if measured and all(name in one for one in measured)
    }


def _rates(verdicts: Sequence[AttackVerdict], image: Tensor, starts: Sequence[Tensor]) -> dict[str, Rate]:
    """Over all victims, with intervals for rows that depend on each other by their image `(N,)` or their start."""
    met = {name: torch.cat([vars(verdict)[name] for verdict in verdicts]) for name in vars(verdicts[0])}
    cluster = connected_clusters(image.repeat(len(verdicts)), torch.cat(list(starts))).tolist()
    rates = {name: clustered_rate(one.tolist(), cluster) for name, one in met.items()}
    return {"attempted": ATTEMPTED} | rates
