"""The whole config, and the checks that involve several sections."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import model_validator

from cam_adv.attacks.base import Attack
from cam_adv.data.class_names import class_number
from cam_adv.errors import UserError
from cam_adv.schema.component import built
from cam_adv.schema.run import RunSettings
from cam_adv.schema.selection import GENERATED, SelectionSettings
from cam_adv.studies.base import Study, planned_interpretations

log = logging.getLogger(__name__)


class Settings(RunSettings):
    """The config of a run.

    role, run, answers: of the studies whose configs have them at the top and refer to them.
    """

    attack: Annotated[Attack, built(Attack)]
    study: Annotated[Study, built(Study)]
    role: Any = None
    run: Any = None
    answers: Any = None

    def check_classes(self, num_classes: int) -> None:
        """Refuse positions of classes that the dataset does not have; names are left to `with_class_numbers`.

        Raises:
            UserError: a source, a target or an example pair names a class outside [0, num_classes).
        """
        named: dict[str, Any] = {
            "selection.source": self.selection.source,
            "selection.target": self.selection.target,
        }
        for number, (source, target) in enumerate(self.dataset.example_pairs):
            named |= {
                f"dataset.example_pairs[{number}][0]": source,
                f"dataset.example_pairs[{number}][1]": target,
            }
            if source == target:
                raise UserError(
                    f"dataset.example_pairs[{number}] goes from class {source} to itself.",
                    "Name two different classes.",
                )
        for path, value in named.items():
            if isinstance(value, int) and not 0 <= value < num_classes:
                raise UserError(
                    f"{path}={value}, but {self.dataset.name} has no such class.",
                    f"Choose a class from 0 to {num_classes - 1}.",
                )
        self.study.check_classes(num_classes, self.dataset.name)

    def with_class_numbers(self, class_names: Sequence[str]) -> "Settings":
        """These settings with the position of each class in place of its name or number.

        Args:
            class_names: of the loaded images. "random", "next" and "every" stay the rules of `selection.target`, and
                "generated" stays the source of samples.

        Raises:
            UserError: a source, a target or an example pair names a class that is none of these, or the target is the
                class of the source.
        """

        def number(path: str, value: Any) -> int:
            return class_number(path, value, class_names, self.dataset.name)

        source, target = self.selection.source, self.selection.target
        target = target if target in ("random", "next", "every") else number("selection.target", target)
        if source == GENERATED and GENERATED in class_names:
            log.info(
                "selection.source=generated means samples of the generator; the class of this name is "
                "selection.source=%d.",
                class_names.index(GENERATED),
            )
        source = source if source in (None, GENERATED) else number("selection.source", source)
        selection = SelectionSettings(images=self.selection.images, source=source, target=target)
        pairs = [
            tuple(number(f"dataset.example_pairs[{row}][{place}]", pair[place]) for place in (0, 1))
            for row, pair in enumerate(self.dataset.example_pairs)
        ] or [(0, 1), (1, 0)]
        dataset = self.dataset.model_copy(update={"example_pairs": pairs})
        return self.model_copy(update={"selection": selection, "dataset": dataset})

    @model_validator(mode="after")
    def _classes_exist(self) -> "Settings":
        if self.dataset.classes is not None:
            self.check_classes(self.dataset.classes)
        return self

    @model_validator(mode="after")
    def _compiled_victim_needs_no_cam(self) -> "Settings":
        for path, attack in self.study.planned_attacks(self.attack).items():
            if self.hardware.compile and attack.needs_exact_cam:
                raise UserError(
                    f"{path} ({attack.name}) needs maps from inside the victim, which hardware.compile=true hides.",
                    "Use hardware.compile=false, or an attack that needs no map.",
                )
        return self

    @model_validator(mode="after")
    def _study_can_attack_samples(self) -> "Settings":
        if self.selection.source == GENERATED and not self.study.attacks_samples:
            raise UserError(
                f"selection.source=generated attacks samples of the generator, but study={self.study.name} is about "
                "images of the dataset.",
                "Use study=attack, or another selection.source; a class that is called generated is named by its "
                "number.",
            )
        return self

    @model_validator(mode="after")
    def _figures_can_be_drawn_later(self) -> "Settings":
        if self.figures == "later" and not self.study.draws_later:
            raise UserError(
                f"figures=later, but the results of study={self.study.name} are not enough to draw its figures from.",
                "Use figures=true or figures=false.",
            )
        return self

    @model_validator(mode="after")
    def _attributions_are_made(self) -> "Settings":
        made = self.study.planned_attributions(self)
        if left_out := [name for name in self.attribution if f"attribution.{name}" not in made]:
            raise UserError(
                f"attribution={left_out[0]} explains the images of study=attack, but the study is {self.study.name}.",
                "Use study=attack, or leave attribution out.",
            )
        return self

    @model_validator(mode="after")
    def _explaining_victims_are_independent(self) -> "Settings":
        victim = self.model.victim
        for path, interpretation in planned_interpretations(self.study, self, self.attack).items():
            seeds = interpretation.victims
            if victim.training is None:
                raise UserError(
                    f"{path} needs independent victims of other seeds, but this victim comes trained.",
                    "Give it a model.victim.training, or leave the robust interpretation out.",
                )
            if victim.seed in seeds:
                raise UserError(
                    f"{path}.victims={seeds} has the seed of the victim itself, which would confirm its own answer.",
                    f"Leave {victim.seed} out, or change model.victim.seed.",
                )
            if len(set(seeds)) < len(seeds):
                raise UserError(
                    f"{path}.victims={seeds} names a seed twice, which would count one victim as two.",
                    "Name each seed once.",
                )
        return self

    @model_validator(mode="after")
    def _study_can_be_done(self) -> "Settings":
        self.study.check(self, self.attack)
        return self
