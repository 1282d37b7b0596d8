"""`conf/reliability/`, `conf/explanation/`, `conf/control/`: the study of explanations."""

from typing import Annotated

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.settings.section import Count, Integer, Key, Positive, Section, Seed, Share, Target


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
