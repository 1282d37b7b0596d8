"""The whole config, and what only the whole can tell."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.settings.attacks import AnyAttack, LatentAttackSettings
from cam_adv.settings.bound import BoundSettings
from cam_adv.settings.data import DatasetSettings
from cam_adv.settings.hardware import HardwareSettings
from cam_adv.settings.kinds import DefenceSettings, KindsSettings
from cam_adv.settings.models import ModelSettings
from cam_adv.settings.reliability import ReliabilitySettings
from cam_adv.settings.section import Name, Section, Seed

Stage = Literal[
    "victim",
    "judge",
    "surrogates",
    "generator",
    "attack",
    "agreement",
    "reliability",
    "bound",
    "kinds",
    "defence",
]


Plan = TypeVar("Plan")


class PeopleSettings(Section):
    """Files with pictures and with what people saw on them, which stage "agreement" reads."""

    images: str | None
    labels: str | None


class Settings(Section):
    dataset: DatasetSettings
    model: ModelSettings
    attack: AnyAttack
    hardware: HardwareSettings
    people: PeopleSettings
    bound: BoundSettings
    reliability_plan: ReliabilitySettings | None = Field(None, alias="reliability")
    kinds_plan: KindsSettings | None = Field(None, alias="kinds")
    defence_plan: DefenceSettings | None = Field(None, alias="defence")
    stage: Stage
    name: Name
    seed: Seed
    retrain: bool
    resume: str | None
    debug: bool
    outputs: Path

    @property
    def reliability(self) -> ReliabilitySettings:
        return _chosen("reliability", self.reliability_plan)

    @property
    def kinds(self) -> KindsSettings:
        return _chosen("kinds", self.kinds_plan)

    @property
    def defence(self) -> DefenceSettings:
        return _chosen("defence", self.defence_plan)

    @property
    def attacks(self) -> dict[str, AnyAttack]:
        """Those that the stage may make, by their paths in the config."""
        if self.stage == "kinds":
            return {f"kinds.attacks.{name}": attack for name, attack in self.kinds.attacks.items()}
        if self.stage == "defence":
            testing = {f"defence.attacks.{name}": attack for name, attack in self.defence.attacks.items()}
            return {"defence.train": self.defence.train, **testing}
        return {"attack": self.attack}

    @model_validator(mode="after")
    def _classes_exist(self) -> "Settings":
        if self.dataset.classes is not None:
            check_classes(self, self.dataset.classes)
        return self

    @model_validator(mode="after")
    def _held_maps_can_be_caught(self) -> "Settings":
        for path, attack in self.attacks.items():
            if self.hardware.compile and attack.holds_map:
                raise UserError(
                    f"{path}.weights.cam={attack.weights.cam} holds a map that is caught inside the victim, which "
                    "hardware.compile=true makes one piece.",
                    f"Use hardware.compile=false, or {path}.weights.cam=0.",
                )
        return self

    @model_validator(mode="after")
    def _victim_can_be_defended(self) -> "Settings":
        training = self.model.victim.training
        if self.stage != "defence":
            return self
        if training is None:
            raise UserError(
                "stage=defence trains the victim anew, but this one comes trained.",
                "Give it a model.victim.training, or choose another model/victim.",
            )
        if training.adversarial_radius > 0:
            raise UserError(
                f"model.victim.training.adversarial_radius={training.adversarial_radius} defends the victim already, "
                "beside which stage=defence would compare its trainings.",
                "Set model.victim.training.adversarial_radius=0, and defence.adversarial_radius to what is compared.",
            )
        return self

    @model_validator(mode="after")
    def _reliability_can_be_studied(self) -> "Settings":
        if self.stage != "reliability":
            return self
        plan = self.reliability
        if self.attack.kind != "type1":
            raise UserError(
                f"attack={self.attack.name} is a Type II attack, but stage=reliability asks what explanations show "
                "of Type I attacks.",
                "Choose a Type I attack, such as attack=type1.",
            )
        if plan.confidence <= self.attack.confidence:
            raise UserError(
                f"reliability.confidence={plan.confidence} makes no stronger attack than "
                f"attack.confidence={self.attack.confidence}.",
                "Raise reliability.confidence, or lower attack.confidence.",
            )
        if len(plan.victims) > 1 and self.model.victim.training is None:
            raise UserError(
                f"reliability.victims asks for {len(plan.victims)} retrained victims, but this one comes trained.",
                "Set reliability.victims=[0], or give it a model.victim.training.",
            )
        return self


def _chosen(group: str, plan: Plan | None) -> Plan:
    """What a stage does, where the config says it."""
    if plan is None:
        raise UserError(f"stage={group} needs the settings of conf/{group}/.", f"Add {group}=standard.")
    return plan


def check_classes(settings: Settings, num_classes: int) -> None:
    """Refuse classes that the dataset hasn't got.

    Raises:
        UserError: a source, a target or a picture names a class outside [0, num_classes).
    """
    named: dict[str, Any] = {}
    for path, attack in settings.attacks.items():
        named[f"{path}.source"] = attack.source
        if isinstance(attack, LatentAttackSettings):
            named[f"{path}.target"] = attack.target
    if settings.stage == "reliability" and settings.reliability.targets >= num_classes:
        raise UserError(
            f"reliability.targets={settings.reliability.targets}, but an image of {settings.dataset.name} has "
            f"{num_classes - 1} other classes.",
            f"Set reliability.targets to {num_classes - 1} or less.",
        )
    for number, (source, target) in enumerate(settings.dataset.pictures):
        named |= {f"dataset.pictures[{number}][0]": source, f"dataset.pictures[{number}][1]": target}
        if source == target:
            raise UserError(
                f"dataset.pictures[{number}] goes from class {source} to itself.",
                "Name two different classes.",
            )
    for path, value in named.items():
        if isinstance(value, int) and not 0 <= value < num_classes:
            raise UserError(
                f"{path}={value}, but {settings.dataset.name} has no such class.",
                f"Choose a class from 0 to {num_classes - 1}.",
            )
