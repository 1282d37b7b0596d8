"""Study `adversarial_training`: what does adversarial training do against each kind of attack?

Against Type II the victim is trained on images that are perturbed against itself at every step (Madry et al. 2018),
by the `adversarial_radius` of its training; against Type I on images that are made against itself every few epochs
(`type1_training`). Each training is done from several seeds.

A Type I attack must reach a probability of y. It is run twice: with its own confidence, and with that of equal rank
(`equal_rank`), since adversarial training makes a victim less confident of every image.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, Role
from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.data_module import Augmentation
from cam_adv.data.selection import Selection, select
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import verdict_on
from cam_adv.metrics.success import AttackVerdict
from cam_adv.reports.terminal import print_models
from cam_adv.runtime.slugify import slugify
from cam_adv.runtime.tensor_files import save_tensors
from cam_adv.schema.component import built
from cam_adv.schema.fields import Key
from cam_adv.schema.run import RunSettings
from cam_adv.schema.selection import TargetRule
from cam_adv.studies.adversarial_training.config import AdversarialTrainingConfig
from cam_adv.studies.adversarial_training.equal_rank import equal_rank_confidence, label_probability
from cam_adv.studies.adversarial_training.report import (
    adversarial_training_content,
    adversarial_training_figure,
    print_adversarial_training,
)
from cam_adv.studies.adversarial_training.table import PLAIN, AdversarialTrainingTable, Measure, Observed
from cam_adv.studies.adversarial_training.type1_training import Type1Images
from cam_adv.studies.adversarial_training.victims import (
    Training,
    build_victims,
    planned_trainings,
    with_type1_images,
)
from cam_adv.studies.base import Study, require_both_kinds, roles_of
from cam_adv.studies.context import StudyContext, one_of_each_class
from cam_adv.training.model_zoo import ModelHandle, ModelZoo

log = logging.getLogger(__name__)

Victims = Mapping[str, Sequence[nn.Module]]
"""Training → its victims, in the order of their seeds."""


class AdversarialTraining(Study, AdversarialTrainingConfig):
    """Trains victims against Type I, against Type II and against both, and attacks every one of them.

    The attacks know their victim: each is run against each victim anew.

    train: the attack that makes the images to train with against Type I.
    attacks: those that every victim is tested with, by name; of both kinds.
    """

    train: Annotated[Attack, built(Attack)]
    attacks: dict[Key, Annotated[Attack, built(Attack)]]

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`; the victims are further models."""
        others: frozenset[Role] = frozenset({"judge", "generator"})
        return (roles_of([self.train, *self.attacks.values()]) | others) - {"victim"}

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """See `Study.planned_attacks`."""
        return {"study.train": self.train} | {f"study.attacks.{name}": one for name, one in self.attacks.items()}

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """See `Study.check`."""
        training = settings.model.victim.training
        if training is None:
            raise UserError(
                f"study={self.name} trains the victim anew, but this one comes trained.",
                "Give it a model.victim.training, or choose another model/victim.",
            )
        if training.adversarial_radius > 0:
            raise UserError(
                f"model.victim.training.adversarial_radius={training.adversarial_radius} trains the victim against "
                f"Type II already, beside which study={self.name} would compare its trainings.",
                "Set model.victim.training.adversarial_radius=0, and study.adversarial_radii to what is compared.",
            )
        refresh = self.type1_images.refresh_epochs
        if refresh >= training.epochs and {"type1", "both"} & set(self.trainings):
            raise UserError(
                f"study.type1_images.refresh_epochs={refresh} makes no Type I image in a training of "
                f"{training.epochs} epochs.",
                "Set it to less than model.victim.training.epochs.",
            )

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        train, selection = splits.train, settings.selection
        every, count = torch.ones(len(train), dtype=torch.bool), self.type1_images.images
        key, source = "study.type1_images.images", selection.source_class
        select(train.labels, every, splits.class_names, count, source, selection.target, settings.seed, key)
        self._select_test(settings, splits, torch.ones(len(splits.test), dtype=torch.bool))

    def build_models(
        self, settings: RunSettings, attack: Attack, splits: ImageSplits, zoo: ModelZoo
    ) -> Mapping[str, ModelHandle]:
        """See `Study.build_models`: the victims that need no Type I images.

        Raises:
            UserError: an attack needs an exact CAM, and the victims have none.
        """
        victim = settings.model.victim
        trainings = [training for training in planned_trainings(self) if not training.type1]
        models = {model.title: model for training in trainings for model in build_victims(training, victim, zoo)}
        if any(one.needs_exact_cam for one in self.planned_attacks(attack).values()):
            LayerTarget.with_exact_cam(next(iter(models.values())).network, one_of_each_class(splits.test))
        return models

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        settings, splits = context.settings, context.splits
        victims = self._victims(context)
        correct = {
            training: torch.stack([context.correct(splits.test, victim) for victim in of])
            for training, of in victims.items()
        }
        selections = self._select_test(settings, splits, torch.cat(list(correct.values())).all(dim=0))
        observed = {
            training: self._observe(context, training, victims, correct[training], selections) for training in victims
        }
        table = AdversarialTrainingTable.build(observed, self.min_effect, self.level)
        heading = f"{settings.model.victim.name} on {settings.dataset.name}, adversarially trained"
        heading += context.no_claim()
        print_adversarial_training(table, heading)
        context.drawing.draw(f"{self.name}.png", adversarial_training_figure, table, heading)
        context.write_json(self.name, adversarial_training_content(table))

    def _select_test(self, settings: RunSettings, splits: ImageSplits, eligible: Tensor) -> dict[str, Selection]:
        """The test images that each attack is run on, the same for every victim, among the `eligible` `(T,)`.

        Attacks with the same target rule get the same images and targets.

        Raises:
            UserError: fewer images are eligible than `study.test_images`.
        """
        labels, names, count, key = splits.test.labels, splits.class_names, self.test_images, "study.test_images"
        selection, seed = settings.selection, settings.seed
        targets: dict[str, TargetRule] = {
            name: selection.target if attack.targeted else "next" for name, attack in self.attacks.items()
        }
        return {
            name: select(labels, eligible, names, count, selection.source_class, target, seed, key)
            for name, target in targets.items()
        }

    def _victims(self, context: StudyContext) -> Victims:
        """The victims of all trainings; those that need Type I images are trained now."""
        trainings = planned_trainings(self)
        handles = {training.name: self._handles(context, training) for training in trainings}
        new = [model for training in trainings if training.type1 for model in handles[training.name]]
        if new:
            context.zoo.prepare(new, context.settings.retrain)
            print_models(new)
        return {name: [context.network(model) for model in of] for name, of in handles.items()}

    def _handles(self, context: StudyContext, training: Training) -> list[ModelHandle]:
        settings, selection = context.settings, context.settings.selection
        models = build_victims(training, settings.model.victim, context.zoo)
        if not training.type1:
            return [context.further_models[model.title] for model in models]
        assert settings.model.victim.training is not None  # `check` has made sure of it
        type1_images = Type1Images(
            self.type1_images,
            self.train,
            context.generator if "generator" in self.train.roles else None,
            context.surrogates if "surrogates" in self.train.roles else [],
            context.splits,
            selection.target,
            selection.source_class,
            settings.seed,
            Augmentation(**settings.model.victim.training.augmentation.model_dump()),
            settings.hardware,
        )
        return [with_type1_images(model, type1_images) for model in models]

    def _observe(
        self,
        context: StudyContext,
        training: str,
        victims: Victims,
        correct: Tensor,
        selections: Mapping[str, Selection],
    ) -> Observed:
        """Attack the victims of one training, and keep the tensors."""
        own, splits, device = victims[training], context.splits, context.device
        probability = torch.stack([label_probability(victim, splits.test, device) for victim in own])
        confidences: dict[Measure, list[float]] = {}
        verdicts: dict[Measure, list[AttackVerdict]] = {}
        starts: dict[Measure, Tensor] = {}
        for name, attack in self.attacks.items():
            log.info("Attacking the victims of the training %s by %s.", training, name)
            measure, equal_rank, selection = Measure(name), Measure(name, equal_rank=True), selections[name]
            verdicts[measure], starts[measure] = self._attack(
                context, training, measure, [attack] * len(own), own, selection
            )
            if attack.kind == "type2":
                continue
            assert attack.confidence is not None  # a Type I attack has one
            confidences[measure] = confidences[equal_rank] = [attack.confidence] * len(own)
            verdicts[equal_rank], starts[equal_rank] = verdicts[measure], starts[measure]
            if training != PLAIN:  # of which equal rank is the same
                confidences[equal_rank] = self._equal_rank(context, attack.confidence, own, victims[PLAIN])
                attacks = [attack.with_confidence(confidence) for confidence in confidences[equal_rank]]
                verdicts[equal_rank], starts[equal_rank] = self._attack(
                    context, training, equal_rank, attacks, own, selection
                )
        return Observed(correct, probability, confidences, verdicts, starts)

    def _equal_rank(
        self, context: StudyContext, confidence: float, own: Sequence[nn.Module], plain: Sequence[nn.Module]
    ) -> list[float]:
        """Of each victim, compared with its counterpart without adversarial training."""
        validation, device = context.splits.validation, context.device
        return [
            equal_rank_confidence(
                confidence,
                label_probability(reference, validation, device),
                label_probability(victim, validation, device),
            )
            for victim, reference in zip(own, plain, strict=True)
        ]

    def _attack(
        self,
        context: StudyContext,
        training: str,
        measure: Measure,
        attacks: Sequence[Attack],
        victims: Sequence[nn.Module],
        selection: Selection,
    ) -> tuple[list[AttackVerdict], Tensor]:
        """Attack each victim by its own attack, judge the images, and keep the tensors of all victims in one file.

        Returns:
            The verdicts, and the starts `(V, N, D)`; see `Observed`.
        """
        verdicts, rows = [], []
        for attack, victim in zip(attacks, victims, strict=True):
            result = context.run_attack(context.bind(attack, victim), selection)
            predictions = context.evaluator(victim).predict(result.x_adv, result.z)
            verdicts.append(verdict_on(attack, result, predictions))
            own = {"x_adv": result.x_adv, "target": result.target, "victim_probs": predictions.victim}
            own["start"] = _start(result, selection)
            rows.append(own | {"judge_reads": predictions.judge_reads} | vars(verdicts[-1]))
        tensors = {name: torch.stack([of[name] for of in rows]) for name in rows[0]}
        tensors |= {"index": selection.index, "x": result.x, "y": result.y}
        save_tensors(tensors, context.folder / f"{slugify(training)}_{slugify(measure.name)}.safetensors")
        return verdicts, tensors["start"]

    @model_validator(mode="after")
    def _trains_against_type1(self) -> Self:
        if self.train.kind != "type1":
            raise UserError(
                f"study.train is {self.train.name}, a Type II attack, but it makes the images to train with against "
                "Type I.",
                "Choose a Type I attack, such as attack@study.train=type1; against Type II there is "
                "study.adversarial_radii.",
            )
        return self

    @model_validator(mode="after")
    def _trains_without_an_interpretation(self) -> Self:
        if self.train.attacked_interpretation is not None:
            raise UserError(
                f"study.train is {self.train.name}, which attacks a robust interpretation of a trained victim, but "
                "its images are made while the victim is being trained.",
                "Choose a Type I attack without an interpretation, such as attack@study.train=type1.",
            )
        return self

    @model_validator(mode="after")
    def _starts_of_tests_are_new(self) -> Self:
        tests = [name for name, attack in self.attacks.items() if attack.uses_real_images]
        if self.train.uses_real_images and tests:
            raise UserError(
                f"study.train and study.attacks.{tests[0]} start from the same real images, so that the test would "
                "start where victims were trained.",
                "Set study.train.init=[mean], which starts at the training images themselves.",
            )
        return self

    @model_validator(mode="after")
    def _both_kinds_are_there(self) -> Self:
        require_both_kinds("study.attacks", self.attacks)
        return self


def _start(result: AttackResult, selection: Selection) -> Tensor:
    """What each image's attack started from, `(N, D)`: the code and y, or the image itself."""
    if result.z_start is None:
        return selection.index.unsqueeze(1)
    return torch.cat([result.z_start, result.y.unsqueeze(1).to(result.z_start)], dim=1)
