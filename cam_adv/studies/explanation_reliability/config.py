"""The study's settings: attribution methods, controls, sample sizes, and the smallest effects that count."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.schema.attribution import AttributionSettings
from cam_adv.schema.fields import Count, Integer, Key, Positive, Seed, Share, StrictModel, Target


class ControlSettings(StrictModel):
    """`image` is a partial function `AttackedImages` → images of the same shape; see `controls`.

    matched: whether instability (H1) requires the attack to change a map more than this control does.
    """

    name: Key
    matched: bool
    image: Target


class MinEffects(StrictModel):
    """The smallest effects that count, each in the unit of its claim."""

    instability: Positive
    unfaithfulness: Positive
    concealment: Positive


class ReliabilityConfig(StrictModel):
    """What the study measures, and the thresholds that are fixed before it runs.

    attributions, controls: by the names that results are reported under.
    victims: seeds of the victims, each trained and attacked.
    images: test images that are attacked, all classified correctly by every victim. targets: classes for each image.
    confidence: the victim's probability of y that the high-confidence variant of the attack requires.
    n_resamples: of the bootstrap and of the sign-flip test. level: of the intervals; tests work at 1 − level.
    deletion_insertion_steps: steps in which pixels are deleted and inserted. blur: standard deviation of the blurred
    baseline, in pixels.
    caliper: largest distance of a matched pair, in standard deviations over the clean images.
    folds: of the detectors' cross-validation. target_fpr: share of clean images that a detector may report.
    trajectories: attacked images of the first victim whose maps are traced along the attack's path.
    """

    attributions: Annotated[dict[Key, AttributionSettings], Field(min_length=1)]
    controls: Annotated[dict[Key, ControlSettings], Field(min_length=1)]
    victims: Annotated[list[Seed], Field(min_length=1)]
    images: Annotated[Integer, Field(ge=2)]
    targets: Count
    confidence: Share
    n_resamples: Count
    level: Share
    min_effect: MinEffects
    deletion_insertion_steps: Annotated[Integer, Field(ge=2)]
    blur: Positive
    caliper: Positive
    folds: Annotated[Integer, Field(ge=2)]
    target_fpr: Share
    trajectories: Count

    @property
    def matched(self) -> tuple[str, ...]:
        """The controls that the attack must exceed, each of them, for instability (H1)."""
        return tuple(name for name, control in self.controls.items() if control.matched)

    @model_validator(mode="after")
    def _no_control_is_named_attack(self) -> Self:
        if "attack" in self.controls:
            raise UserError(
                "study.controls.attack has the name under which the attack itself is reported.",
                "Give that control another key.",
            )
        return self

    @model_validator(mode="after")
    def _some_control_is_matched(self) -> Self:
        if not self.matched:
            raise UserError(
                "study.controls has no control that is matched, so the attack has nothing to exceed in H1.",
                "Set matched: true in one of them, such as study.controls.real_pair.matched=true.",
            )
        return self

    @model_validator(mode="after")
    def _victims_differ(self) -> Self:
        if len(set(self.victims)) < len(self.victims):
            raise UserError(
                f"study.victims={self.victims} names a seed twice, which would count one victim as two.",
                "Name each seed once.",
            )
        return self
