"""The settings that every run has, whatever its study."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cam_adv.schema.dataset import DatasetSettings
from cam_adv.schema.fields import Name, Seed, StrictModel
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.schema.models import ModelSettings
from cam_adv.schema.selection import SelectionSettings


class RunSettings(StrictModel):
    """The config without the attack and the study; see `conf/config.yaml`.

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
