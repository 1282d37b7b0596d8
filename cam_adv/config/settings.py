"""The whole config, and the checks that involve several sections."""

from typing import Annotated, Any

from pydantic import model_validator

from cam_adv.attacks.base import Attack
from cam_adv.errors import UserError
from cam_adv.schema.component import built
from cam_adv.schema.run import RunSettings
from cam_adv.studies.base import Study


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
        """Refuse classes that the dataset does not have.

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
    def _study_can_be_done(self) -> "Settings":
        self.study.check(self, self.attack)
        return self
