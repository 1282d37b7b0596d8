"""`conf/kinds/`, `conf/defence/`: attacks of both kinds beside each other."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from cam_adv.errors import UserError
from cam_adv.settings.attacks import AnyAttack, AttackSettings, LatentAttackSettings
from cam_adv.settings.section import (
    Count,
    Integer,
    Key,
    Positive,
    Section,
    Share,
)


def _both_kinds(path: str, attacks: Mapping[str, AttackSettings]) -> None:
    """Refuse a comparison of the kinds in which one is missing."""
    for kind, example in (("type1", "type1"), ("type2", "pgd")):
        if all(attack.kind != kind for attack in attacks.values()):
            raise UserError(
                f"{path}={list(attacks)} has no attack of {kind}, so there is nothing to set beside.",
                f"Add one, such as +attack@{path}.another={example}.",
            )


def _check_where_they_stand(attacks: Mapping[str, Any]) -> None:
    """Let an attack's own refusal, which speaks of `attack`, name the place in the config where it stands."""
    for path, plain in attacks.items():
        try:
            TypeAdapter(AnyAttack).validate_python(plain)
        except UserError as error:
            placed = (
                text.replace("attack.", f"{path}.").replace("attack=", f"attack@{path}=")
                for text in (error.what, error.remedy)
            )
            raise UserError(*placed) from error
        except ValidationError:
            pass  # which the check of the whole config tells with its path


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

    @model_validator(mode="before")
    @classmethod
    def _attacks_are_right(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("attacks"), Mapping):
            _check_where_they_stand({f"kinds.attacks.{name}": one for name, one in values["attacks"].items()})
        return values

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

    @model_validator(mode="before")
    @classmethod
    def _attacks_are_right(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("attacks"), Mapping):
            testing = {f"defence.attacks.{name}": one for name, one in values["attacks"].items()}
            _check_where_they_stand({"defence.train": values.get("train"), **testing})
        return values

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
