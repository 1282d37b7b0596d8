"""The typed form of `conf/`: types, ranges and choices, checked before any data is loaded. A file for each folder."""

from cam_adv.settings.attacks import (
    AnyAttack,
    AttackNorm,
    AttackSettings,
    CarliniWagnerSettings,
    DDNSettings,
    DeepFoolSettings,
    FGSMSettings,
    Kind,
    LatentAttackSettings,
    MinimalNormSettings,
    PGDSettings,
    PixelAttackSettings,
    Weights,
)
from cam_adv.settings.bound import BoundSettings, Norm, SearchSettings
from cam_adv.settings.data import DatasetSettings
from cam_adv.settings.hardware import HardwareSettings
from cam_adv.settings.kinds import DetectorSettings, KindsSettings, PerturbedPixelsSettings
from cam_adv.settings.models import (
    ClassifierTraining,
    EnsembleSettings,
    GeneratorSettings,
    GeneratorTraining,
    MemberSettings,
    ModelSettings,
    VictimSettings,
)
from cam_adv.settings.reliability import ControlSettings, ExplanationSettings, Matters, ReliabilitySettings
from cam_adv.settings.whole import Settings, Stage, check_classes

__all__ = [
    "AnyAttack",
    "AttackNorm",
    "AttackSettings",
    "BoundSettings",
    "CarliniWagnerSettings",
    "ClassifierTraining",
    "ControlSettings",
    "DDNSettings",
    "DatasetSettings",
    "DeepFoolSettings",
    "DetectorSettings",
    "EnsembleSettings",
    "ExplanationSettings",
    "FGSMSettings",
    "GeneratorSettings",
    "GeneratorTraining",
    "HardwareSettings",
    "Kind",
    "KindsSettings",
    "LatentAttackSettings",
    "Matters",
    "MemberSettings",
    "MinimalNormSettings",
    "ModelSettings",
    "Norm",
    "PGDSettings",
    "PerturbedPixelsSettings",
    "PixelAttackSettings",
    "ReliabilitySettings",
    "SearchSettings",
    "Settings",
    "Stage",
    "VictimSettings",
    "Weights",
    "check_classes",
]
