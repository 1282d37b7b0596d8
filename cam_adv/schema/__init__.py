"""The typed sections of the config: types, ranges and choices, checked before any data is loaded."""

from cam_adv.schema.component import Component, built
from cam_adv.schema.dataset import DatasetSettings
from cam_adv.schema.fields import Kind, StrictModel
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.schema.models import (
    ClassifierTraining,
    EnsembleSettings,
    GeneratorSettings,
    GeneratorTraining,
    MemberSettings,
    ModelSettings,
    VictimSettings,
)
from cam_adv.schema.run import RunSettings
from cam_adv.schema.selection import SelectionSettings

__all__ = [
    "ClassifierTraining",
    "Component",
    "DatasetSettings",
    "EnsembleSettings",
    "GeneratorSettings",
    "GeneratorTraining",
    "HardwareSettings",
    "Kind",
    "MemberSettings",
    "ModelSettings",
    "RunSettings",
    "SelectionSettings",
    "StrictModel",
    "VictimSettings",
    "built",
]
