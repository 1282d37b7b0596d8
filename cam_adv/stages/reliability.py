"""The chain of stage "reliability": victims, attacks, controls, maps, claims, one file and one page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cam_adv.attack.batches import walk_batches
from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.result import AttackResult, save_tensors
from cam_adv.attack.selection import Selection, first_of_each
from cam_adv.data.splits import ImageSplits
from cam_adv.digest import digest
from cam_adv.evaluation.intervals import Rate, wilson
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.evaluation.verdict import Verdict, type1_verdict
from cam_adv.explanation.subject import Subject
from cam_adv.hardware.devices import main_device
from cam_adv.naming import file_name
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.reliability.cast import Cast
from cam_adv.reliability.claims import ATTACK, CLAIMS, STRONGER, Claims, Findings, answers, ranking
from cam_adv.reliability.controls import Attacked, without_victim
from cam_adv.reliability.design import design
from cam_adv.reliability.finding import NOTHING_SEEN
from cam_adv.reliability.observation import Observation, concatenate, load_observations, observe, save_observations
from cam_adv.reliability.scene import make_scene
from cam_adv.reliability.trajectory import Trajectory, follow
from cam_adv.report import files, terminal
from cam_adv.report.controls import draw_changes, mean_changes, print_changes
from cam_adv.report.gallery import draw_walk
from cam_adv.report.gauge import draw_gauge
from cam_adv.report.reliability import draw_reliability, print_reliability, reliability_content, write_measures
from cam_adv.report.reliability_page import write_page
from cam_adv.report.trajectory import draw_explanations, draw_trajectories, write_trajectories
from cam_adv.report.walk import walk_frames
from cam_adv.run_folder import BATCHES
from cam_adv.settings import LatentAttackSettings, Settings
from cam_adv.training.workshop import Workshop

Seen = dict[str, list[dict[str, Observation]]]
"""Attack → for each victim on which it ever succeeded, explanation → what was observed."""


def run(settings: Settings, splits: ImageSplits, workshop: Workshop, folder: Path, config: str) -> float:
    """Train several victims, attack each twice, explain every picture, and answer the three claims.

    Args:
        workshop: of these splits.
        folder: of this run alone.
        config: the resolved config, for the folder's `config.yaml`.

    Returns:
        How often the attack succeeded, over all victims.

    Raises:
        UserError: something that the user can mend; before anything is trained, as far as that can be known.
    """
    # A perfect victim would have every test image attacked: what even that can't serve is said before training.
    perfect = torch.ones(len(splits.test), dtype=torch.bool)
    _design(settings, splits, perfect)
    first_of_each(splits.test.labels, perfect, settings.dataset.pictures)
    cast = Cast.build(settings, splits, workshop)
    files.claim(folder, config)
    terminal.print_models(cast.prepare(settings.retrain))
    stage = _Stage.set(settings, splits, cast, folder)

    # Without the victim's say it is the same walk whoever the victim is.
    silent = stage.attack(without_victim(settings.attack), settings.reliability.victims[0])
    transition = stage.walk(silent, stage.selection).x_adv
    attacks = {ATTACK: settings.attack, STRONGER: stronger(settings.attack, settings.reliability.confidence)}
    seen: Seen = {name: [] for name in attacks}
    verdicts: dict[str, list[Verdict]] = {name: [] for name in attacks}
    for seed in cast.victims:
        for name, attack in attacks.items():
            result = stage.walk(stage.attack(attack, seed), stage.selection)
            verdict = stage.judge(result, seed, attack.confidence)
            _save(result, stage.selection, verdict, folder / f"{name.replace(' ', '_')}_{seed}.safetensors")
            verdicts[name].append(verdict)
            if verdict.success.any():
                seen[name].append(stage.observe_once(name, result, verdict, transition, seed))
    _report(stage, seen, {name: _rates(of) for name, of in verdicts.items()})
    return _rates(verdicts[ATTACK])["success"].rate


def stronger(attack: LatentAttackSettings, confidence: float) -> LatentAttackSettings:
    """The same attack, of whose victim more is asked: the confidence that counts as kept, and that k works for.

    The published rule for k knows no confidence: then the walk is the same, and fewer of its pictures count.
    """
    multiplier = attack.multiplier | ({"confidence": confidence} if "confidence" in attack.multiplier else {})
    return attack.model_copy(update={"confidence": confidence, "multiplier": multiplier})


@dataclass(frozen=True)
class _Stage:
    """Everything that is the same for all attacks: who takes part, and what is attacked.

    correct: by the victim's seed, which test images it classifies correctly, `(T,)`.
    """

    settings: Settings
    splits: ImageSplits
    cast: Cast
    folder: Path
    device: torch.device
    correct: dict[int, Tensor]
    selection: Selection

    @classmethod
    def set(cls, settings: Settings, splits: ImageSplits, cast: Cast, folder: Path) -> "_Stage":
        """Choose what is attacked, once the networks are trained."""
        device, test = main_device(settings.hardware), splits.test
        correct = {
            seed: in_batches(model.network.to(device), test.images, device).argmax(dim=1) == test.labels
            for seed, model in cast.victims.items()
        }
        selection = _design(settings, splits, torch.stack(list(correct.values())).all(dim=0))
        return cls(settings, splits, cast, folder, device, correct, selection)

    def victim(self, seed: int) -> nn.Module:
        """On the device: a Trainer that has finished leaves its networks on the CPU."""
        return self.cast.victims[seed].network.to(self.device)

    def subject(self, seed: int) -> Subject:
        """A victim, looked at where its exact CAM is."""
        return Subject.with_exact_cam(self.victim(seed), unit(self.splits.test.images[:8].to(self.device)))

    def attack(self, plan: LatentAttackSettings, seed: int) -> LatentAttack:
        """An attack on one victim."""
        others = self.cast.others
        surrogates = [model.network.to(self.device) for model in others.surrogates.values()]
        generator = others.generator.network.to(self.device)
        real = self.splits.validation
        return LatentAttack(self.victim(seed), generator, plan, surrogates, real, self.settings.seed)

    def walk(self, attack: LatentAttack, selection: Selection) -> AttackResult:
        """Where it takes the selected test images."""
        return walk_batches(attack, self.splits.test, selection, self.settings.hardware, self.folder / BATCHES)

    def witnesses(self, seed: int) -> Witnesses:
        """Who is asked about the pictures of an attack on one victim."""
        generator, few = self.cast.others.generator.network, self.splits.test.images[:8]
        return Witnesses.call(self.victim(seed), self.judges(), generator, few, self.device)

    def draw_walks(self, figures: Path) -> None:
        """How pictures change, and the first victim's maps with them.

        `<source>_to_<target>.png` has the CAM frame by frame, `explanations_<source>_to_<target>.png` every map.
        """
        settings, names = self.settings, self.splits.class_names
        seed = settings.reliability.victims[0]
        shown = first_of_each(self.splits.test.labels, self.correct[seed], settings.dataset.pictures)
        walks = self.walk(self.attack(settings.attack, seed).at_every_step(), shown)
        witnesses = self.witnesses(seed)
        for row, trajectory in enumerate(self.follow(walks, range(len(walks)), witnesses)):
            source, target = names[walks.y[row]], names[walks.target[row]]
            frames = walk_frames(walks, row, settings.attack.frames, witnesses)
            draw_walk(frames, source, target, names, figures)
            path = figures / file_name(f"explanations_{source}_to_{target}.png")
            draw_explanations(trajectory, names, path)

    def trajectories(self) -> list[Trajectory]:
        """The first attacked images on the first victim, those on which the attack succeeds, moment by moment."""
        seed, plan = self.settings.reliability.victims[0], self.settings.attack
        chosen = self.selection.first(self.settings.reliability.trajectories)
        walks = self.walk(self.attack(plan, seed).at_every_step(), chosen)
        success, witnesses = self.judge(walks, seed, plan.confidence).success, self.witnesses(seed)
        return self.follow(walks, success.nonzero().flatten().tolist(), witnesses)

    def follow(self, walks: AttackResult, rows: Iterable[int], witnesses: Witnesses) -> list[Trajectory]:
        """Walks on the first victim, explained moment by moment."""
        plan, frames = self.settings.reliability, self.settings.attack.frames
        subject = self.subject(plan.victims[0])
        return [follow(walks, row, frames, witnesses, subject, plan.explanations) for row in rows]

    def judges(self) -> Ensemble:
        """On the device."""
        return self.cast.others.judges().to(self.device)

    def judge(self, result: AttackResult, seed: int, confidence: float) -> Verdict:
        """What the victim and the judge say of the ends."""
        victim_probs = in_batches(self.victim(seed), result.x_adv, self.device).softmax(dim=1)
        judge_probs = in_batches(self.judges().probs, result.x_adv, self.device)
        return type1_verdict(victim_probs, judge_probs, result.y, result.target, confidence)

    def observe_once(
        self, name: str, result: AttackResult, verdict: Verdict, transition: Tensor, seed: int
    ) -> dict[str, Observation]:
        """`observe`, unless this run has done so before it was interrupted."""
        pictures = {"x_adv": result.x_adv, "success": verdict.success, "transition": transition}
        path = self.folder / BATCHES / f"observed_{digest({'attack': name, 'victim': seed}, pictures)}.safetensors"
        if path.exists():
            return load_observations(path)
        # Two more networks cost as much as the controls; one attack is enough to see what they show.
        observed = self.observe(result, verdict, transition, seed, with_unknowing=name == ATTACK)
        save_observations(observed, path)
        return observed

    def observe(
        self, result: AttackResult, verdict: Verdict, transition: Tensor, seed: int, with_unknowing: bool
    ) -> dict[str, Observation]:
        """Put the controls beside the successes, and explain them all."""
        plan, success, test = self.settings.reliability, verdict.success, self.splits.test
        real = self.correct[seed].nonzero().squeeze(1)
        attacked = Attacked(
            self.selection.index[success],
            *(getattr(result, name)[success] for name in ("y", "target", "x", "x_adv", "z0", "z")),
            transition[success],
            self.cast.others.generator.network.to(self.device),
            test[real],
            real,
            self.settings.seed,
        )
        scene = make_scene(seed, self.subject(seed), attacked, self.selection.index, plan.controls)
        unknowing = {name: model.network for name, model in self.cast.unknowing.items()} if with_unknowing else {}
        return observe(scene, plan, unknowing, self.settings.seed, self.device)


def _design(settings: Settings, splits: ImageSplits, eligible: Tensor) -> Selection:
    plan = settings.reliability
    return design(
        splits.test.labels,
        eligible,
        splits.num_classes,
        plan.images,
        plan.targets,
        settings.attack.source,
        settings.seed,
    )


def _save(result: AttackResult, selection: Selection, verdict: Verdict, path: Path) -> None:
    tensors = {name: getattr(result, name) for name in ("x", "x_adv", "z0", "z", "y", "target")}
    save_tensors(tensors | {"index": selection.index, "success": verdict.success}, path)


def _rates(verdicts: Sequence[Verdict]) -> dict[str, Rate]:
    """Over all victims, with the Wilson intervals of independent rows, which rows of one image are not quite."""
    together = {name: torch.cat([vars(verdict)[name] for verdict in verdicts]) for name in vars(verdicts[0])}
    return {name: wilson(int(answer.sum()), len(answer)) for name, answer in together.items()}


def _findings(settings: Settings, observations: Sequence[Mapping[str, Observation]]) -> Findings:
    """The three claims about each explanation, from what was observed on every victim."""
    plan = settings.reliability
    if not observations:
        return {name: dict.fromkeys(CLAIMS, NOTHING_SEEN) for name in plan.explanations}
    rows = {name: concatenate([one[name].rows for one in observations]) for name in plan.explanations}
    pairs = {name: concatenate([one[name].pairs for one in observations]) for name in plan.explanations}
    claims = Claims(plan, settings.seed)
    found = claims.instability(rows), claims.unfaithfulness(rows), claims.concealment(pairs)
    return {name: {claim: of[name] for claim, of in zip(CLAIMS, found, strict=True)} for name in plan.explanations}


def _report(stage: _Stage, seen: Seen, rates: Mapping[str, Mapping[str, Rate]]) -> None:
    """`reliability.json` and `.html`, `attacks.json`, `measures.csv`, `trajectories.csv`, figures, tables."""
    settings, plan, folder = stage.settings, stage.settings.reliability, stage.folder
    findings = {name: _findings(settings, observations) for name, observations in seen.items()}
    main = answers(findings)
    order = ranking(main)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    write_measures(seen, folder / "measures.csv")
    changes = mean_changes(seen[ATTACK])
    if changes:
        draw_changes(changes, figures / "controls.png")
        print_changes(changes)
    stage.draw_walks(figures)
    trajectories = stage.trajectories()
    write_trajectories(trajectories, folder / "trajectories.csv")
    draw_trajectories(trajectories, figures / "trajectories.png")
    draw_reliability(main, order, plan.matters, figures / "reliability.png")
    selection, network = stage.selection, stage.cast.victims[plan.victims[0]].network.cpu()
    x = unit(stage.splits.test.images[selection.index[:1]])
    draw_gauge(network, x, selection.y[:1], selection.target[:1], stage.splits.class_names, figures)
    content = reliability_content(findings)
    write_page(settings, content, order, rates, folder)
    attacks = {"images": plan.images, "targets": plan.targets, "victims": plan.victims, "ranking": order}
    attacks |= {name: {key: asdict(rate) for key, rate in of.items()} for name, of in rates.items()}
    files.write_summary(attacks, folder / "attacks.json")
    files.write_summary(content, folder / "reliability.json")
    for name, of in rates.items():
        rows = {"rows": len(selection) * len(plan.victims)}
        terminal.print_attack(settings.attack.kind, f"{settings.attack.name}, {name}, on every victim", of, rows)
    print_reliability(main, order)
    terminal.print_paths(folder, settings.outputs)
