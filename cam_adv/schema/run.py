"""The settings that every run has, whatever its study."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cam_adv.errors import UserError
from cam_adv.schema.attribution import AnyAttribution
from cam_adv.schema.dataset import DatasetSettings
from cam_adv.schema.fields import Key, Name, Seed, StrictModel
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.schema.models import ModelSettings
from cam_adv.schema.selection import SelectionSettings


class RunSettings(StrictModel):
    """The config without the attack and the study; see `conf/config.yaml`.

    attribution: explanations that an attack's images get in its files, by name.
    figures: whether the study draws figures: True, False, or "later" from its results.
    """

    dataset: DatasetSettings
    model: ModelSettings
    selection: SelectionSettings
    hardware: HardwareSettings
    name: Name
    seed: Seed
    retrain: bool
    from_: Annotated[str | None, Field(alias="from")] = None
    resume: str | None
    debug: bool
    figures: Literal[True, False, "later"]
    outputs: Path
    attribution: Annotated[dict[Key, AnyAttribution], Field(default_factory=dict)]

    @field_validator("attribution", mode="before")
    @classmethod
    def _attributions_stand_under_their_names(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(name := value.get("name"), str):
            raise UserError(
                f"attribution={name} stands where another attribution would replace it.",
                f"Begin its file with the line: # @package attribution.{name}",
            )
        return {} if value is None else value
