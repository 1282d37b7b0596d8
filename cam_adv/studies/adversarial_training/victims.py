"""The victims of every training: built, to be trained or found in the store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cam_adv.schema.models import VictimSettings
from cam_adv.studies.adversarial_training.config import AdversarialTrainingConfig
from cam_adv.studies.adversarial_training.table import CONTROL, PLAIN
from cam_adv.studies.adversarial_training.type1_training import Type1Images, Type1TrainingModule
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.model_zoo import ModelHandle, ModelZoo


@dataclass(frozen=True)
class Training:
    """What victims are trained against.

    type1: whether they are trained on Type I images. radius: of the adversarial training against Type II; 0: none.
    seeds: of the victims.
    """

    name: str
    type1: bool
    radius: float
    seeds: Sequence[int]


def planned_trainings(config: AdversarialTrainingConfig) -> list[Training]:
    """Every training of the study, starting with `PLAIN` and `CONTROL`."""
    trainings = [
        Training(PLAIN, False, 0.0, config.victims),
        Training(CONTROL, False, 0.0, config.control_victims),
    ]
    for name in config.trainings:
        if name == "type1":
            trainings.append(Training(name, True, 0.0, config.victims))
            continue
        trainings += [
            Training(f"{name} radius {radius:g}", name == "both", radius, config.victims)
            for radius in config.adversarial_radii
        ]
    return trainings


def build_victims(training: Training, settings: VictimSettings, zoo: ModelZoo) -> list[ModelHandle]:
    """One for each seed, trained against Type II or against nothing."""
    assert settings.training is not None  # the study has made sure of it
    adversarial = settings.training.model_copy(update={"adversarial_radius": training.radius})
    models = []
    for seed in training.seeds:
        model = zoo.victim(settings.model_copy(update={"training": adversarial, "seed": seed}))
        assert model.training is not None
        title = f"{model.title}, {training.name}, seed {seed}"
        models.append(replace(model, title=title, training=replace(model.training, title=title)))
    return models


def with_type1_images(model: ModelHandle, type1_images: Type1Images) -> ModelHandle:
    """The same victim, trained on Type I images, too; an entry of its own in the store."""
    spec = model.training
    assert spec is not None
    assert isinstance(spec.module, ClassifierModule)
    recipe = {**spec.entry.recipe, "type1_images": type1_images.recipe()}
    entry = replace(spec.entry, name=f"{spec.entry.name}+type1", recipe=recipe)
    module = Type1TrainingModule.of(spec.module, type1_images)
    return replace(model, training=replace(spec, module=module, entry=entry))
