"""The study's settings: attacks, attribution methods, controls, sizes, and the smallest effects that count."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cam_adv.attacks.base import Attack
from cam_adv.errors import UserError
from cam_adv.schema.attribution import AttributionSettings
from cam_adv.schema.component import built
from cam_adv.schema.fields import Count, Integer, Key, NotNegative, Positive, Seed, Share, StrictModel, Target

RESERVED = {"attack", "x", "mean_map", "random_map", "ink"}
"""Names that no control may have: those of what the attack, x and maps without any meaning are reported under."""


class ControlSettings(StrictModel):
    """`image` is a partial function `AttackedImages` → images of the same shape; see `controls`.

    matched: whether the attack must exceed this control, where the victim calls it y, for instability (H1) and for
    unfaithfulness (H2).
    """

    name: Key
    matched: bool
    image: Target


class ArmSettings(StrictModel):
    """A further attack on the same victims.

    images: it gets at most so many of the study's images. attributions: keys of those that explain its results.
    """

    attack: Annotated[Attack, built(Attack)]
    images: Count
    attributions: Annotated[list[Key], Field(min_length=1)]


class MinEffects(StrictModel):
    """The smallest effects that count, each in the unit of its claim; concealment has two.

    concealment: AUC that the map adds to a detector on confidence. passing: share of attacked maps that it adds to
    those which that detector catches.
    """

    instability: Positive
    unfaithfulness: Positive
    concealment: Positive
    passing: Share


class Spread(StrictModel):
    """Standard deviations of an effect: between victims, between images, and of what is peculiar to both."""

    victim: NotNegative
    image: Positive
    rest: Positive


class Assumed(StrictModel):
    """What the power that is stated before the run assumes.

    success: share of the images on which an attack succeeds and that are matched.
    """

    success: Share
    instability: Spread
    unfaithfulness: Spread
    concealment: Spread
    passing: Spread

    @property
    def spreads(self) -> dict[str, Spread]:
        """By effect, as in `MinEffects`."""
        return {name: getattr(self, name) for name in MinEffects.model_fields}


class ReliabilityConfig(StrictModel):
    """What the study measures, and the thresholds that are fixed before it runs.

    arms: further attacks by name, beside that of the config.
    attributions, controls: by the names that results are reported under.
    victims: seeds of the victims, each trained and attacked.
    images: test images that are attacked, all classified correctly by every victim. targets: classes for each image.
    confidence: the victim's probability of y that the high-confidence variant of the attack requires.
    level: of the intervals; tests work at 1 − level.
    assumed: spreads from which the power is stated before the run.
    deletion_insertion_steps: steps in which pixels are deleted and inserted. blur: standard deviation of the blurred
    baseline, in pixels.
    caliper: largest distance of a matched pair, in standard deviations over the clean images.
    folds: of the detectors' cross-validation. target_fpr: share of clean images that a detector may report.
    trajectories: attacked images of the first victim whose maps are traced along the attack's path.
    """

    arms: dict[Key, ArmSettings]
    attributions: Annotated[dict[Key, AttributionSettings], Field(min_length=1)]
    controls: Annotated[dict[Key, ControlSettings], Field(min_length=1)]
    victims: Annotated[list[Seed], Field(min_length=1)]
    images: Annotated[Integer, Field(ge=2)]
    targets: Count
    confidence: Share
    level: Share
    min_effect: MinEffects
    assumed: Assumed
    deletion_insertion_steps: Annotated[Integer, Field(ge=2)]
    blur: Positive
    caliper: Positive
    folds: Annotated[Integer, Field(ge=2)]
    target_fpr: Share
    trajectories: Count

    @property
    def matched(self) -> tuple[str, ...]:
        """The controls that the attack must exceed, each of them, for instability (H1) and unfaithfulness (H2)."""
        return tuple(name for name, control in self.controls.items() if control.matched)

    @model_validator(mode="after")
    def _control_names_are_free(self) -> Self:
        for name in sorted(RESERVED & self.controls.keys()):
            raise UserError(
                f"study.controls.{name} has a name under which the study reports something else.",
                "Give that control another key.",
            )
        return self

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        for name, arm in self.arms.items():
            if name == "attack":
                raise UserError(
                    "study.arms.attack has the name under which the study reports the configured attack.",
                    "Give that arm another key.",
                )
            for missing in sorted(set(arm.attributions) - self.attributions.keys()):
                raise UserError(
                    f"study.arms.{name}.attributions has {missing}, which study.attributions has not.",
                    f"Choose among {', '.join(self.attributions)}.",
                )
        return self

    @model_validator(mode="after")
    def _some_control_is_matched(self) -> Self:
        if not self.matched:
            raise UserError(
                "study.controls has no control that is matched, so the attack has nothing to exceed in H1 and H2.",
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
