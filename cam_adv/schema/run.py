"""The settings that every run has, whatever its study."""

from pathlib import Path

from cam_adv.schema.dataset import DatasetSettings
from cam_adv.schema.fields import Name, Seed, StrictModel
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.schema.models import ModelSettings
from cam_adv.schema.selection import SelectionSettings


class RunSettings(StrictModel):
    """The config without the attack and the study; see `conf/config.yaml`."""

    dataset: DatasetSettings
    model: ModelSettings
    selection: SelectionSettings
    hardware: HardwareSettings
    name: Name
    seed: Seed
    retrain: bool
    resume: str | None
    debug: bool
    outputs: Path
