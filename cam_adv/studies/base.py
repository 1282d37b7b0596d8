"""What every study is: a question with its settings, the models and attacks that it needs, and a run."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.schema.attribution import AnyAttribution, RobustSettings
from cam_adv.schema.component import Component
from cam_adv.schema.fields import Name
from cam_adv.schema.run import RunSettings
from cam_adv.studies.context import StudyContext
from cam_adv.training.model_zoo import ModelHandle, ModelZoo


class Study(Component):
    """A study. Its fields are the keys of `conf/study/<name>.yaml`, which names it by `_target_`.

    Its methods are used in this order: `check` on the config alone, `check_data` on the images, `build_models`; then
    all models are trained or loaded; then `run`, which writes `<name>.json` (`StudyContext.write_json`).

    name: of the study, the same in the config, its files and its folder.
    """

    section: ClassVar[str] = "study"
    attacks_samples: ClassVar[bool] = False
    """Whether it can attack samples of the generator instead of test images (`selection.source=generated`)."""

    draws_later: ClassVar[bool] = False
    """Whether its figures can be drawn from its results (`figures=later`)."""

    needs_images: ClassVar[bool] = True
    """Whether the dataset is loaded; without it there are no models either."""

    name: Name

    def roles(self, attack: Attack) -> frozenset[Role]:
        """The models that it needs, trained, in `context.models`.

        Args:
            attack: that of the config.
        """
        return frozenset()

    def planned_attacks(self, attack: Attack) -> Mapping[str, Attack]:
        """The attacks that it may run, by their paths in the config."""
        return {}

    def planned_attributions(self, settings: RunSettings) -> Mapping[str, AnyAttribution]:
        """The explanations that it makes, by their paths in the config."""
        return {}

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """Refuse what the config alone shows to be impossible.

        Raises:
            UserError: before any data is loaded.
        """

    def check_classes(self, num_classes: int, dataset: str) -> None:
        """Refuse numbers of classes that the dataset hasn't got; called as soon as the number is known.

        Raises:
            UserError: the study needs more classes.
        """

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """Refuse what these images can't serve, even with a victim that classifies all of them correctly.

        Raises:
            UserError: before anything is trained.
        """

    def build_models(
        self, settings: RunSettings, attack: Attack, splits: ImageSplits, zoo: ModelZoo
    ) -> Mapping[str, ModelHandle]:
        """Further models by name, built and checked but not yet trained: `context.further_models`."""
        return {}

    @abstractmethod
    def run(self, context: StudyContext) -> float | None:
        """Do the study and leave its files in `context.folder`.

        Returns:
            What a search over settings would maximise; None where there is no such figure.
        """


def planned_interpretations(study: Study, settings: RunSettings, attack: Attack) -> dict[str, RobustSettings]:
    """The robust interpretations that a study makes, and those that its attacks know of, by their paths.

    Args:
        attack: that of the config.
    """
    made = {
        path: one for path, one in study.planned_attributions(settings).items() if isinstance(one, RobustSettings)
    }
    attacked = {
        f"{path}.interpretation": one.attacked_interpretation
        for path, one in study.planned_attacks(attack).items()
        if one.attacked_interpretation is not None
    }
    return made | attacked


def roles_of(attacks: Iterable[Attack]) -> frozenset[Role]:
    """The models that any of several attacks needs."""
    return frozenset[Role]().union(*(attack.roles for attack in attacks))


def require_both_kinds(path: str, attacks: Mapping[str, Attack]) -> None:
    """Refuse a comparison of the kinds of attack in which one is missing.

    Args:
        path: of the attacks in the config.

    Raises:
        UserError: all attacks are of one kind.
    """
    for kind, example in (("type1", "type1"), ("type2", "pgd")):
        if all(attack.kind != kind for attack in attacks.values()):
            raise UserError(
                f"{path}={list(attacks)} has no attack of {kind}, so there is nothing to compare with.",
                f"Add one, such as +attack@{path}.another={example}.",
            )
