"""The typed form of `conf/`: types, ranges and choices, checked before any data is loaded."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cam_adv.errors import UserError


def _no_boolean(kind: str) -> BeforeValidator:
    """Pydantic takes true for 1; who writes attack.strength=true means something else."""

    def refuse(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"Input should be a valid {kind}")
        return value

    return BeforeValidator(refuse)


Number = Annotated[float, _no_boolean("number")]
Integer = Annotated[int, _no_boolean("integer")]
Share = Annotated[Number, Field(gt=0, lt=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[Integer, Field(ge=1)]
Index = Annotated[Integer, Field(ge=0)]
Seed = Annotated[Integer, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
Key = Annotated[str, Field(pattern=r"^\w+$")]
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
Kind = Literal["type1", "type2"]
"""Type I: the picture becomes another class and the victim's answer stays. Type II: the other way round."""
Norm = Literal["l1", "l2", "linf"]
AttackNorm = Literal["linf", "l2"]


class Section(BaseModel):
    """One node of the config: unknown keys are errors, values stay as they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _has_target(node: Any) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ValueError("a mapping with a _target_, the import path of a class or function, is needed")
    return dict(node)


Target = Annotated[dict[str, Any], BeforeValidator(_has_target)]
"""A node that Hydra can instantiate: `_target_` and its arguments."""


class SplitSettings(Section):
    validation: Share
    test: Share | None
    seed: Seed

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> "SplitSettings":
        if self.validation + (self.test or 0) >= 1:
            raise UserError(
                f"dataset.split takes {self.validation} for validation and {self.test} for test: nothing is left.",
                "Lower dataset.split.validation or dataset.split.test until images are left to train on.",
            )
        return self


class DatasetSettings(Section):
    name: Name
    root: str | None = None
    download: bool | None = None
    size: Count | None = None
    gray: bool | None = None
    classes: Annotated[Integer, Field(ge=2)] | None
    source: Target
    split: SplitSettings
    pictures: Annotated[list[tuple[Integer, Integer]], Field(min_length=1)]


class AugmentationSettings(Section):
    shift: NotNegative
    rotation: NotNegative
    scale: Annotated[Number, Field(ge=0, lt=1)]
    shear: NotNegative


class ClassifierTraining(Section):
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)]
    pixel_noise: NotNegative
    adversarial_radius: NotNegative
    augmentation: AugmentationSettings


class VictimSettings(Section):
    name: Name
    network: Target
    training: ClassifierTraining | None
    seed: Seed


class MemberSettings(Section):
    network: Target
    seed: Seed
    pixel_noise: NotNegative | None = None
    adversarial_radius: NotNegative | None = None

    def trained(self, shared: ClassifierTraining) -> ClassifierTraining:
        """The ensemble's training with this member's own values."""
        own = {"pixel_noise": self.pixel_noise, "adversarial_radius": self.adversarial_radius}
        return shared.model_copy(update={name: value for name, value in own.items() if value is not None})


class EnsembleSettings(Section):
    name: Name
    members: Annotated[dict[Key, MemberSettings], Field(min_length=1)]
    training: ClassifierTraining


class GeneratorTraining(Section):
    svae_epochs: Count
    discriminator_epochs: Count
    batch_size: Count
    learning_rate: Positive
    kl_weight: Positive
    f2_weight: NotNegative
    augmentation: AugmentationSettings


class GeneratorSettings(Section):
    name: Name
    network: Target
    training: GeneratorTraining
    seed: Seed


class ModelSettings(Section):
    victim: VictimSettings
    generator: GeneratorSettings
    judge: EnsembleSettings
    surrogates: EnsembleSettings


class PeopleSettings(Section):
    """Files with pictures and with what people saw on them, which stage "agreement" reads."""

    images: str | None
    labels: str | None


class HardwareSettings(Section):
    """Where the work is done; what the work is doesn't depend on it. See `conf/hardware/`."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    nodes: Count
    strategy: Literal["single", "ddp"]
    placement: Literal["first", "free"] | Index
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    workers: Count

    @property
    def processes(self) -> int:
        """Over all machines."""
        return self.devices * self.nodes


class Weights(Section):
    """Factors of the terms of the attack's objective; the victim's factor is each sample's multiplier k.

    f2: of J_2 = E CE(f2(z + spread·sigma·eps), y'), the latent classifier's view of y'.
    surrogates: of the surrogates' mean cross-entropy on G(z) against y'.
    discriminator: of BCE(D(z), 1), which asks the discriminator to take the code for a prior sample.
    norm: of ‖z‖₂, which keeps the code from drifting out to where the discriminator knows nothing.
    cam: of 1 − the centred cosine of CAM_y(G(z)) with CAM_y(x), which keeps the map where it was; 0: no map is made.
    """

    f2: NotNegative
    surrogates: NotNegative
    discriminator: NotNegative
    norm: NotNegative
    cam: NotNegative = 0.0


class LatentNoise(Section):
    """f2 answers for a neighbourhood of z: `samples` draws, `spread` posterior deviations wide."""

    samples: Count
    spread: NotNegative


class Views(Section):
    """The surrogates look at a copy of G(z) moved by up to `shift` pixels, under noise of deviation `noise`."""

    noise: NotNegative
    shift: Index


class AttackSettings(Section):
    """What every attack is asked.

    kind: which of the two verdicts is asked for. Every attack also says its `starts`, the names of what it begins at,
    each tried in turn; `steps_per_start`, how many steps it takes at most from each; `asks_surrogates`, whether they
    must be trained; `holds_map`, whether the victim must have an exact CAM.
    """

    name: Name
    kind: Kind
    images: Count
    source: Index | None
    frames: Annotated[Integer, Field(ge=2)]
    batch_size: Count


class LatentAttackSettings(AttackSettings):
    """A walk of the code z, whose picture G(z) is x'."""

    method: Literal["latent_walk"]
    target: Literal["random", "next", "every"] | Index
    strength: NotNegative | None
    steps: Count
    learning_rate: Positive
    confidence: Share
    margin: NotNegative
    starts: Annotated[list[Literal["mean", "lookalike"]], Field(min_length=1)]
    start_distance: NotNegative
    keep_best: bool
    rest_at: Share
    retry_below: Share
    weights: Weights
    latent_noise: LatentNoise
    views: Views
    multiplier: Target

    @property
    def steps_per_start(self) -> int:
        return self.steps

    @property
    def asks_surrogates(self) -> bool:
        return self.weights.surrogates > 0

    @property
    def holds_map(self) -> bool:
        return self.weights.cam > 0

    @model_validator(mode="after")
    def _target_is_another_class(self) -> "LatentAttackSettings":
        if self.source is not None and self.source == self.target:
            raise UserError(
                f"attack.target={self.target} is the class that the images already have.",
                "Choose another attack.target, or another attack.source.",
            )
        return self

    @model_validator(mode="after")
    def _type2_stays_at_its_picture(self) -> "LatentAttackSettings":
        if self.kind == "type1":
            return self
        if self.starts != ["mean"]:
            raise UserError(
                f"attack.starts={self.starts}, but {self.name} is a Type II attack: its picture stays, so it starts "
                "at its own code.",
                "Set attack.starts to [mean].",
            )
        if self.holds_map:
            raise UserError(
                f"attack.weights.cam={self.weights.cam} holds the map of the class that the victim keeps, but "
                f"{self.name} is a Type II attack, under which it keeps none.",
                "Use attack.weights.cam=0, or attack=type1_cam.",
            )
        return self


class PixelAttackSettings(AttackSettings):
    """An attack on the pixels of x: Type II, and untargeted, that is, any class but y will do."""

    kind: Literal["type2"]
    strength: NotNegative | None

    @property
    def starts(self) -> list[str]:
        return ["x"]

    @property
    def asks_surrogates(self) -> bool:
        return False

    @property
    def holds_map(self) -> bool:
        return False

    @model_validator(mode="before")
    @classmethod
    def _no_target(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "target" in values:
            raise UserError(
                f"attack.target={values['target']}, but attack={values.get('name')} is untargeted: any class but y "
                "will do.",
                "Leave attack.target out, or use attack=type2_latent.",
            )
        return values


class FGSMSettings(PixelAttackSettings):
    """One step to the border of the ball of radius `strength`."""

    method: Literal["fgsm"]
    strength: NotNegative
    norm: AttackNorm

    @property
    def steps_per_start(self) -> int:
        return 1


class PGDSettings(PixelAttackSettings):
    """Steps of `step_size`·strength inside the ball of radius `strength`."""

    method: Literal["pgd"]
    strength: NotNegative
    norm: AttackNorm
    steps: Count
    step_size: Positive
    random_start: bool

    @property
    def starts(self) -> list[str]:
        return ["random" if self.random_start else "x"]

    @property
    def steps_per_start(self) -> int:
        return self.steps


class MinimalNormSettings(PixelAttackSettings):
    """A search for the nearest image of another class, cut at the ball of radius `strength` where one is given."""

    norm: AttackNorm
    steps: Count

    @property
    def steps_per_start(self) -> int:
        return self.steps

    @model_validator(mode="after")
    def _foolbox_is_there(self) -> "MinimalNormSettings":
        if find_spec("foolbox") is None:
            raise UserError(
                f"attack={self.name} comes with another package.", "Install it with pip install 'cam-adv[foolbox]'."
            )
        return self


class DDNSettings(MinimalNormSettings):
    """See Rony et al. 2019."""

    method: Literal["ddn"]
    norm: Literal["l2"]
    first_radius: Positive
    gamma: Share


class DeepFoolSettings(MinimalNormSettings):
    """See Moosavi-Dezfooli et al. 2016."""

    method: Literal["deepfool"]
    overshoot: NotNegative


class CarliniWagnerSettings(MinimalNormSettings):
    """See Carlini and Wagner 2017; `steps` in each of `searches` rounds of the search for the constant."""

    method: Literal["carlini_wagner"]
    norm: Literal["l2"]
    searches: Count
    step_size: Positive
    first_constant: Positive

    @property
    def steps_per_start(self) -> int:
        return self.searches * self.steps


AnyAttack = Annotated[
    LatentAttackSettings | FGSMSettings | PGDSettings | DDNSettings | DeepFoolSettings | CarliniWagnerSettings,
    Field(discriminator="method"),
]


class ExplanationSettings(Section):
    name: Key
    method: Target


class ControlSettings(Section):
    name: Key
    matched: bool
    picture: Target


class Matters(Section):
    """The smallest effects that count, each in the unit of its claim."""

    instability: Positive
    unfaithfulness: Positive
    concealment: Positive


class ReliabilitySettings(Section):
    """What stage "reliability" measures, and what would count."""

    explanations: Annotated[dict[Key, ExplanationSettings], Field(min_length=1)]
    controls: Annotated[dict[Key, ControlSettings], Field(min_length=1)]
    victims: Annotated[list[Seed], Field(min_length=1)]
    images: Annotated[Integer, Field(ge=2)]
    targets: Count
    confidence: Share
    resamples: Count
    level: Share
    matters: Matters
    erasure_steps: Annotated[Integer, Field(ge=2)]
    blur: Positive
    caliper: Positive
    folds: Annotated[Integer, Field(ge=2)]
    false_alarms: Share
    trajectories: Count

    @property
    def matched(self) -> tuple[str, ...]:
        """The controls that H1 asks the attack to exceed, each of them."""
        return tuple(name for name, control in self.controls.items() if control.matched)

    @model_validator(mode="after")
    def _attack_is_no_control(self) -> "ReliabilitySettings":
        if "attack" in self.controls:
            raise UserError(
                "reliability.controls.attack has the name of what the controls stand beside.",
                "Give that control another key.",
            )
        return self

    @model_validator(mode="after")
    def _some_control_is_matched(self) -> "ReliabilitySettings":
        if not self.matched:
            raise UserError(
                "reliability.controls has no control that is matched, so H1 has nothing to exceed.",
                "Set matched: true in one of them, such as reliability.controls.real_pair.matched=true.",
            )
        return self

    @model_validator(mode="after")
    def _victims_differ(self) -> "ReliabilitySettings":
        if len(set(self.victims)) < len(self.victims):
            raise UserError(
                f"reliability.victims={self.victims} names a seed twice, which would count one victim as two.",
                "Name each seed once.",
            )
        return self


class DDNSearch(Section):
    """See `cam_adv.bound.ddn`."""

    steps: Count
    first_radius: Positive
    gamma: Share


class PGDSearch(Section):
    """See `cam_adv.bound.bisection`; `share` is of the pixels that a step under L1 moves."""

    halvings: Count
    steps: Count
    step_length: Positive
    share: Annotated[Number, Field(gt=0, le=1)]


class SearchSettings(Section):
    """How the nearest image of another answer is looked for."""

    ddn: DDNSearch
    pgd: PGDSearch
    border_halvings: Count


class BoundSettings(Section):
    """What stage "bound" estimates from below, and how hard it looks from above."""

    images: Count
    radii: Annotated[dict[Norm, Positive], Field(min_length=1)]
    batches: Annotated[Integer, Field(ge=3)]
    samples: Count
    shape_penalty: Positive
    poor_below: Share
    search: SearchSettings


def _both_kinds(path: str, attacks: Mapping[str, AttackSettings]) -> None:
    """Refuse a comparison of the kinds in which one is missing."""
    for kind, example in (("type1", "type1"), ("type2", "pgd")):
        if all(attack.kind != kind for attack in attacks.values()):
            raise UserError(
                f"{path}={list(attacks)} has no attack of {kind}, so there is nothing to set beside.",
                f"Add one, such as +attack@{path}.another={example}.",
            )


class DetectorSettings(Section):
    """How feature squeezing squeezes, and from which area on a detector is said to see an attack."""

    bits: Annotated[Integer, Field(ge=1, le=8)]
    window: Literal[2, 3]
    seen_from: Share


class PerturbedPixelsSettings(Section):
    """Shares of an image's pixels: of the CAM's region, and of those that are marked as the most perturbed."""

    region: Share
    marked: Share


class KindsSettings(Section):
    """Which attacks of both kinds stage "kinds" sets side by side, and on what."""

    attacks: dict[Key, AnyAttack]
    images: Count
    false_alarms: Share
    resamples: Count
    level: Share
    detectors: DetectorSettings
    perturbed_pixels: PerturbedPixelsSettings

    @model_validator(mode="after")
    def _both_kinds_are_there(self) -> "KindsSettings":
        _both_kinds("kinds.attacks", self.attacks)
        return self

    @model_validator(mode="after")
    def _all_attack_the_same(self) -> "KindsSettings":
        for name, attack in self.attacks.items():
            chosen = {"source": (attack.source, None)}
            if isinstance(attack, LatentAttackSettings):
                chosen["target"] = (attack.target, "random")
            for key, (value, asked) in chosen.items():
                if value != asked:
                    raise UserError(
                        f"kinds.attacks.{name}.{key}={value}, but all attacks get the same images of every class, "
                        "with targets drawn by the seed.",
                        f"Set kinds.attacks.{name}.{key} to {asked or 'null'}.",
                    )
        return self


class DefenceSettings(Section):
    """What stage "defence" trains with, what it tests with, and what would count."""

    train: AnyAttack
    attacks: dict[Key, AnyAttack]
    trainings: Annotated[list[Literal["type1", "type2", "both"]], Field(min_length=1)]
    images: Count
    share: Share
    adversarial_radius: Positive
    test_images: Count
    matters: Share

    @model_validator(mode="after")
    def _type2_is_trained_against_otherwise(self) -> "DefenceSettings":
        if self.train.kind != "type1":
            raise UserError(
                f"defence.train is {self.train.name}, a Type II attack, but it makes the pictures to train with "
                "against Type I.",
                "Choose a Type I attack, such as attack@defence.train=type1; against Type II there is "
                "defence.adversarial_radius.",
            )
        return self

    @model_validator(mode="after")
    def _both_kinds_are_there(self) -> "DefenceSettings":
        _both_kinds("defence.attacks", self.attacks)
        return self

    @model_validator(mode="after")
    def _trainings_differ(self) -> "DefenceSettings":
        if len(set(self.trainings)) < len(self.trainings):
            raise UserError(f"defence.trainings={self.trainings} names one twice.", "Name each once.")
        return self


class Settings(Section):
    dataset: DatasetSettings
    model: ModelSettings
    attack: AnyAttack
    hardware: HardwareSettings
    people: PeopleSettings
    reliability: ReliabilitySettings
    bound: BoundSettings
    kinds: KindsSettings
    defence: DefenceSettings
    stage: Stage
    name: Name
    seed: Seed
    retrain: bool
    resume: str | None
    debug: bool
    outputs: Path

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
