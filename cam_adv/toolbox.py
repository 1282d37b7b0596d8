"""Images and trained models in one hand: for the study, and for a notebook."""

from dataclasses import dataclass

import hydra
from torch import nn

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.module import Attack
from cam_adv.attack.pixel_attack import PixelAttack
from cam_adv.config import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.hardware.check import check_hardware
from cam_adv.hardware.devices import main_device
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.svae import SVAE
from cam_adv.own_configs import look_for_own_configs
from cam_adv.settings import AttackSettings, LatentAttackSettings, Settings
from cam_adv.training.workshop import Models, Workshop


@dataclass(frozen=True)
class Toolbox:
    """What an attack is made with.

    real: images that walks may start from; validation images, which trained neither the generator nor the judge.
    """

    settings: Settings
    splits: ImageSplits
    victim: nn.Module
    generator: SVAE
    surrogates: list[nn.Module]
    judge: Ensemble
    real: LabelledImages

    @classmethod
    def of(cls, settings: Settings, splits: ImageSplits, models: Models) -> "Toolbox":
        """From all the models of an attack, trained; they are put on the settings' device."""
        assert models.victim is not None
        assert models.generator is not None
        device = main_device(settings.hardware)
        return cls(
            settings,
            splits,
            models.victim.network.to(device),
            models.generator.network.to(device),
            [model.network.to(device) for model in models.surrogates.values()],
            models.judges().to(device),
            splits.validation,
        )

    def attack(self, plan: AttackSettings | None = None) -> Attack:
        """An attack on the victim: that of the settings, or another `plan`."""
        plan, seed = plan or self.settings.attack, self.settings.seed
        if isinstance(plan, LatentAttackSettings):
            return LatentAttack(self.victim, self.generator, plan, self.surrogates, self.real, seed)
        return PixelAttack(self.victim, self.generator, plan, seed)


def load(*overrides: str) -> Toolbox:
    """Compose a config as the command line does, load its models from the store, and train what is missing.

    Args:
        overrides: as on the command line, such as "dataset=mnist" or "attack.confidence=0.99".

    Raises:
        UserError: as the command line would say it.
    """
    look_for_own_configs()
    with hydra.initialize_config_module("cam_adv.conf", version_base="1.3"):
        settings = settings_from(hydra.compose("config", overrides=list(overrides)))
    check_hardware(settings.hardware)
    if settings.hardware.placement == "free":
        raise UserError(
            "hardware.placement=free is for a command, which gives its GPU back when it ends.",
            "Name a GPU: hardware.placement=0.",
        )
    splits = load_dataset(settings.dataset)
    workshop = Workshop(splits, settings.dataset.name, settings.outputs / "models", settings.hardware)
    models = workshop.models(settings.model, "attack", settings.attack.asks_surrogates)
    workshop.prepare(models.all(), retrain=False)
    return Toolbox.of(settings, splits, models)
