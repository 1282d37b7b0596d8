"""Study `adversarial_training`: what does adversarial training do against each kind of attack?

Against Type II the victim is trained on images that are perturbed against itself at every step (Madry et al. 2018),
by the `adversarial_radius` of its training. A Type I image takes hundreds of steps, so such images are made once,
against the plain victim, and added to the training images.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.selection import Selection
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import verdict_on
from cam_adv.metrics.intervals import wilson
from cam_adv.metrics.success import AttackVerdict
from cam_adv.reports.terminal import print_models
from cam_adv.runtime.tensor_files import save_tensors
from cam_adv.schema.component import built
from cam_adv.schema.fields import Key
from cam_adv.schema.models import VictimSettings
from cam_adv.schema.run import RunSettings
from cam_adv.schema.selection import TargetRule
from cam_adv.studies.adversarial_training.augment import adversarial_to_dataset, augment_split
from cam_adv.studies.adversarial_training.config import AdversarialTrainingConfig
from cam_adv.studies.adversarial_training.report import (
    adversarial_training_content,
    adversarial_training_figure,
    print_adversarial_training,
)
from cam_adv.studies.adversarial_training.selection import select_test_images, select_training_images
from cam_adv.studies.adversarial_training.table import NONE, AdversarialTrainingTable
from cam_adv.studies.base import Study, require_both_kinds, roles_of
from cam_adv.studies.context import StudyContext
from cam_adv.training.model_zoo import ModelHandle

TRAINING_IMAGES = "adversarial_images.safetensors"
"""Of the training attack: 8-bit images, labels y', and the positions of the training images they were made of."""


class AdversarialTraining(Study, AdversarialTrainingConfig):
    """Trains the victim anew against Type I, against Type II and against both, and attacks every victim.

    The attacks know their victim: each is run against each victim anew.

    train: the attack that makes the images to train with against Type I.
    attacks: those that every victim is tested with, by name; of both kinds.
    """

    train: Annotated[Attack, built(Attack)]
    attacks: dict[Key, Annotated[Attack, built(Attack)]]

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return roles_of([self.train, *self.attacks.values()]) | {"judge", "generator"}

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
                "Set model.victim.training.adversarial_radius=0, and study.adversarial_radius to what is compared.",
            )

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        self._select_training(settings, splits, torch.ones(len(splits.train), dtype=torch.bool))
        self._select_test(settings, splits, torch.ones(len(splits.test), dtype=torch.bool))

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        settings, splits = context.settings, context.splits
        assert context.models.victim is not None  # `roles` names it
        victims = {NONE: context.models.victim} | self._retrained_victims(context)
        print_models([victim for training, victim in victims.items() if training != NONE])
        networks = {training: context.network(victim) for training, victim in victims.items()}
        correct = {training: context.correct(splits.test, victim) for training, victim in networks.items()}
        selections = self._select_test(settings, splits, torch.stack(list(correct.values())).all(dim=0))
        verdicts = {
            training: {
                name: self._verdict(context, training, victim, name, selection)
                for name, selection in selections.items()
            }
            for training, victim in networks.items()
        }
        accuracy = {training: wilson(int(of.sum()), len(of)) for training, of in correct.items()}
        kinds = {name: attack.kind for name, attack in self.attacks.items()}
        table = AdversarialTrainingTable.build(accuracy, verdicts, kinds, self.min_effect)
        heading = f"{settings.model.victim.name} on {settings.dataset.name}, adversarially trained"
        heading += context.no_claim()
        print_adversarial_training(table, heading)
        context.drawing.draw(f"{self.name}.png", adversarial_training_figure, table, heading)
        context.write_json(self.name, adversarial_training_content(table))

    def _select_training(self, settings: RunSettings, splits: ImageSplits, eligible: Tensor) -> Selection:
        target, source = settings.selection.target, settings.selection.source_class
        return select_training_images(self, splits, eligible, settings.seed, target, source)

    def _select_test(self, settings: RunSettings, splits: ImageSplits, eligible: Tensor) -> dict[str, Selection]:
        target, source = settings.selection.target, settings.selection.source_class
        targets: dict[str, TargetRule] = {
            name: target if attack.targeted else "next" for name, attack in self.attacks.items()
        }
        return select_test_images(self, splits, eligible, settings.seed, targets, source)

    def _retrained_victims(self, context: StudyContext) -> dict[str, ModelHandle]:
        """By training, a victim that was trained against what the training names."""
        zoo, enlarged = context.zoo, context.zoo
        if {"type1", "both"} & set(self.trainings):
            splits = augment_split(context.splits, self._training_images(context), self.share)
            enlarged = replace(zoo, splits=splits, dataset=f"{zoo.dataset}+type1")
        victims: dict[str, ModelHandle] = {}
        for training in self.trainings:
            settings = context.settings.model.victim
            if training in ("type2", "both"):
                settings = _adversarially_trained(settings, self.adversarial_radius)
            model = (enlarged if training in ("type1", "both") else zoo).victim(settings)
            zoo.prepare([model], context.settings.retrain)
            victims[training] = replace(model, title=f"{model.title}, {training}")
        return victims

    def _training_images(self, context: StudyContext) -> LabelledImages:
        """What the training attack makes of training images against the plain victim."""
        train = context.splits.train
        selection = self._select_training(context.settings, context.splits, context.correct(train))
        images = adversarial_to_dataset(context.run_attack(context.bind(self.train), selection, train))
        save_tensors({"index": selection.index, **vars(images)}, context.folder / TRAINING_IMAGES)
        return images

    def _verdict(
        self, context: StudyContext, training: str, victim: nn.Module, name: str, selection: Selection
    ) -> AttackVerdict:
        """Attack a victim, judge the images, and keep the tensors."""
        attack = self.attacks[name]
        result = context.run_attack(context.bind(attack, victim), selection)
        predictions = context.evaluator(victim).predict(result.x_adv, result.z)
        verdict = verdict_on(attack, result, predictions)
        tensors = {
            "index": selection.index,
            "victim_probs": predictions.victim,
            "judge_reads": predictions.judge_reads,
        }
        tensors |= {"x": result.x, "x_adv": result.x_adv, "y": result.y, "target": result.target}
        save_tensors(tensors | vars(verdict), context.folder / f"{training}_{name}.safetensors")
        return verdict

    @model_validator(mode="after")
    def _trains_against_type1(self) -> Self:
        if self.train.kind != "type1":
            raise UserError(
                f"study.train is {self.train.name}, a Type II attack, but it makes the images to train with against "
                "Type I.",
                "Choose a Type I attack, such as attack@study.train=type1; against Type II there is "
                "study.adversarial_radius.",
            )
        return self

    @model_validator(mode="after")
    def _both_kinds_are_there(self) -> Self:
        require_both_kinds("study.attacks", self.attacks)
        return self


def _adversarially_trained(victim: VictimSettings, radius: float) -> VictimSettings:
    assert victim.training is not None  # `check` has made sure of it
    training = victim.training.model_copy(update={"adversarial_radius": radius})
    return victim.model_copy(update={"training": training})
