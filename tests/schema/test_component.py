"""Components, which the config names by `_target_`, and the arguments of every other `_target_`."""

from typing import Annotated, Any, ClassVar

import pytest
from pydantic import model_validator

from cam_adv.attacks.base import Attack
from cam_adv.attacks.pgd import PGD
from cam_adv.errors import UserError
from cam_adv.schema.component import Component, built, check_targets, make_component
from cam_adv.schema.fields import Count, StrictModel
from cam_adv.schema.wording import explain_validation_error

PGD_VALUES = {
    "name": "pgd",
    "strength": 0.1,
    "norm": "linf",
    "steps": 3,
    "step_size": 0.5,
    "random_start": False,
}


class Part(Component):
    """A component with one field and one check of its own."""

    section: ClassVar[str] = "part"

    size: Count

    @model_validator(mode="after")
    def _size_is_not_13(self) -> "Part":
        if self.size == 13:
            raise UserError(
                "part.size=13 is unlucky, unlike part=other and test_component.Part.",
                "Set part.size to 12, or write part=other.",
            )
        return self


class Other(Part):
    """A subclass with a default."""

    size: Count = 2


class Holder(StrictModel):
    """A section with components."""

    part: Annotated[Part, built(Part)]
    parts: dict[str, Annotated[Part, built(Part)]] = {}  # noqa: RUF012


def node(name: str, **values: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{name}", **values}


def refusal(values: dict[str, Any]) -> UserError:
    """The error with which `Holder` refuses these values."""
    with pytest.raises(ValueError, match="validation error") as error:
        Holder.model_validate(values)
    return explain_validation_error(error.value, values)


class TestBuilt:
    def test_mapping_becomes_the_class_of_its_target(self) -> None:
        holder = Holder.model_validate({"part": node("Other"), "parts": {"a": node("Part", size=3)}})
        assert type(holder.part) is Other
        assert holder.part.size == 2
        assert holder.parts["a"] == Part(size=3)

    def test_component_stays_as_it_is(self) -> None:
        part = Part(size=3)
        assert Holder.model_validate({"part": part}).part is part

    def test_hydra_keys_are_no_fields(self) -> None:
        hydra_keys = {"_convert_": "all", "_recursive_": False, "_partial_": False}
        assert make_component(Part, node("Part", size=3, **hydra_keys)) == Part(size=3)

    @pytest.mark.parametrize(
        ("value", "what", "remedy"),
        [
            (3, "part._target_ is missing.", "Give the import path of a class of test_component.Part."),
            (None, "part._target_ is missing.", "Give the import path of a class of test_component.Part."),
            ({"size": 3}, "part._target_ is missing.", "Give the import path of a class of test_component.Part."),
            (
                {"_target_": "torch.nn.Linear"},
                "part._target_=torch.nn.Linear is no Part.",
                "Give a subclass of test_component.Part.",
            ),
            (
                node("Prat", size=3),
                "part._target_=test_component.Prat can't be imported: Are you sure that 'Prat' is importable from "
                "module 'test_component'.",
                "Give the import path of a class or function, package.module.Name, or write test_component.Part.",
            ),
            (node("Part"), "part.size is missing.", "Add it with +part.size=VALUE."),
            (node("Part", size=3, colour=1), "part.colour is no key of this config.", "Remove part.colour."),
            (
                node("Part", size=0),
                "part.size=0 can't be used: it should be greater than or equal to 1.",
                "Set part.size to such a value.",
            ),
        ],
    )
    def test_invalid_component_is_refused(self, value: Any, what: str, remedy: str) -> None:
        error = refusal({"part": value})
        assert (error.what, error.remedy) == (what, remedy)

    def test_nested_component_is_named_by_its_path(self) -> None:
        error = refusal({"part": node("Part", size=3), "parts": {"a": node("Part", size=0)}})
        assert error.what == "parts.a.size=0 can't be used: it should be greater than or equal to 1."
        assert error.remedy == "Set parts.a.size to such a value."

    def test_messages_of_a_nested_component_have_its_path_and_import_paths_stay(self) -> None:
        error = refusal({"part": node("Part", size=3), "parts": {"a": node("Part", size=13)}})
        assert error.what == "parts.a.size=13 is unlucky, unlike part@parts.a=other and test_component.Part."
        assert error.remedy == "Set parts.a.size to 12, or write part@parts.a=other."

    def test_messages_of_a_component_in_its_own_section_stay(self) -> None:
        error = refusal({"part": node("Part", size=13)})
        assert error.what == "part.size=13 is unlucky, unlike part=other and test_component.Part."


class TestInPython:
    """A component that is built without a config makes the same checks."""

    def test_valid_values_are_accepted(self) -> None:
        assert PGD(**PGD_VALUES).steps_per_init == 3

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"norm": "l3"}, "attack.norm=l3 can't be used: it should be 'l1', 'l2' or 'linf'."),
            ({"steps": 0}, "attack.steps=0 can't be used: it should be greater than or equal to 1."),
            ({"gamma": 1}, "attack.gamma is no key of this config."),
            ({"kind": "type1"}, "attack.kind=type1 can't be used: it should be 'type2'."),
        ],
    )
    def test_invalid_values_are_refused(self, changes: dict[str, Any], what: str) -> None:
        with pytest.raises(UserError) as error:
            PGD(**PGD_VALUES | changes)
        assert error.value.what == what

    def test_missing_value_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"^attack\.steps is missing\."):
            PGD(**{name: value for name, value in PGD_VALUES.items() if name != "steps"})

    def test_abstract_class_has_no_instances(self) -> None:
        with pytest.raises(TypeError, match="abstract"):
            make_component(Attack, {"_target_": "cam_adv.attacks.base.Attack", "name": "x", "kind": "type2"})


class TestCheckTargets:
    @pytest.mark.parametrize(
        ("node", "message"),
        [
            ({"_target_": "torch.nn.Linear", "in_features": 3}, "a.out_features, which torch.nn.Linear needs"),
            ({"_target_": "torch.nn.Linear", "in_features": 3, "out_feature": 2}, "a.out_feature is no argument"),
            (
                {"_target_": "cam_adv.models.victims.MLP", "hidden": 4},
                "a.in_channels, which cam_adv.models.vic",
            ),
            ({"_target_": "torch.nn.Lineal"}, "can't be imported.*\n.*, or write torch.nn.Linear"),
            ({"_target_": "torch"}, "can't be called: it is a module"),
            ({"_target_": ""}, "can't be imported"),
        ],
    )
    def test_invalid_target_is_refused(self, node: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            check_targets({"a": node})

    @pytest.mark.parametrize(
        "node",
        [
            {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2},
            {"_target_": "torchvision.models.resnet18", "anything": 3},
            {"_target_": "cam_adv.models.victims.MLP", "hidden": 4},
        ],
    )
    def test_valid_target_is_accepted(self, node: dict[str, Any]) -> None:
        check_targets({"a": {"network": node}})
