"""The study's settings: the attacks, the explanations, and the share of false alarms that each may give."""

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from cam_adv.attacks.base import Attack
from cam_adv.errors import UserError
from cam_adv.schema.attribution import AnyAttribution, RobustSettings
from cam_adv.schema.component import built
from cam_adv.schema.fields import Count, Integer, Key, Share, StrictModel
from cam_adv.studies.robust_explanation.control import SIGNIFICANCE, smallest_adjusted_p


class RobustExplanationConfig(StrictModel):
    """What the study measures, and the thresholds that are fixed before it runs.

    attacks, attributions: by the names that results are reported under.
    images: test images that every attack gets. honest: further ones, on which false alarms are measured.
    calibration: at most as many others set the thresholds of the detectors of maps.
    reference: the attribution that the others are compared with.
    abstention: the level of the robust interpretations in conf/, and as attacks know it.
    target_fpr: share of honest images on which an explanation may give an alarm. A robust interpretation gives one by
        abstaining, too; then its map has the rest of that share.
    folds: of the cross-validation of the detectors of maps.
    permutations: of the test of unattacked images against honest ones.
    """

    attacks: Annotated[dict[Key, Annotated[Attack, built(Attack)]], Field(min_length=1)]
    attributions: Annotated[dict[Key, AnyAttribution], Field(min_length=1)]
    images: Count
    honest: Count
    calibration: Count
    reference: Key
    abstention: Share
    target_fpr: Share
    folds: Annotated[Integer, Field(ge=2)]
    permutations: Count

    @model_validator(mode="after")
    def _reference_is_an_attribution(self) -> Self:
        if self.reference not in self.attributions:
            raise UserError(
                f"study.reference={self.reference} is none of study.attributions.",
                f"Choose one of {', '.join(self.attributions)}.",
            )
        return self

    @model_validator(mode="after")
    def _abstention_leaves_some_alarms_to_the_map(self) -> Self:
        for name, attribution in self.attributions.items():
            if isinstance(attribution, RobustSettings) and attribution.level >= self.target_fpr:
                common = attribution.level == self.abstention
                key = "study.abstention" if common else f"study.attributions.{name}.level"
                raise UserError(
                    f"{key}={attribution.level} uses up study.target_fpr={self.target_fpr}, so that the map of "
                    f"study.attributions.{name} may give no alarm.",
                    f"Set {key} to less, such as {self.target_fpr / 2:g}.",
                )
        return self

    @model_validator(mode="after")
    def _permutations_can_be_significant(self) -> Self:
        smallest = smallest_adjusted_p(self.permutations, len(self.attributions))
        if smallest > SIGNIFICANCE:
            raise UserError(
                f"study.permutations={self.permutations} can't show that unattacked images give too many alarms: "
                f"with {len(self.attributions)} of study.attributions no p-value is below {smallest:.2g}.",
                f"Set study.permutations to {math.ceil(len(self.attributions) / SIGNIFICANCE) - 1} or more.",
            )
        return self

    @model_validator(mode="after")
    def _attacks_are_of_type1(self) -> Self:
        for name, attack in self.attacks.items():
            if attack.kind != "type1":
                raise UserError(
                    f"study.attacks.{name} is {attack.name}, a Type II attack: nobody is to see another class.",
                    f"Choose a Type I attack, such as attack@study.attacks.{name}=type1.",
                )
        return self
