"""Pydantic's errors as two sentences."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, ValidationError, model_validator

from cam_adv.schema.fields import ClassNumber, Count, Key, Name, Number, Share, StrictModel, Target
from cam_adv.schema.wording import explain_validation_error, nearest


class Inner(StrictModel):
    """A nested section."""

    size: Count


class Whole(StrictModel):
    """A config with a union, a list, tuples and mappings."""

    target: Literal["random", "next"] | Annotated[int, Field(ge=0)] = "next"
    pairs: list[tuple[int, int]] = []  # noqa: RUF012
    inner: Inner | None = None
    inners: dict[str, Inner] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("values", "what", "remedy"),
    [
        (
            {"target": "seven"},
            "target=seven can't be used: it should be 'random' or 'next' or a valid integer.",
            "Set target to such a value.",
        ),
        (
            {"target": -1},
            "target=-1 can't be used: it should be 'random' or 'next' or greater than or equal to 0.",
            "Set target to such a value.",
        ),
        ({"pairs": [[1, 2], [3, "x"]]}, "pairs.1.1=x can't be used: it should be a valid integer.", "Set pairs.1.1"),
        ({"pairs": [[1]]}, "pairs.0=[1] can't be used: its item 1 is missing.", "Give pairs.0 all of its items."),
        ({"inner": {}}, "inner.size is missing.", "Add it with +inner.size=VALUE."),
        ({"inner": {"size": 1, "sise": 2}}, "inner.sise is no key of this config.", "Remove inner.sise."),
        ({"inners": {"a": {"size": 0}}}, "inners.a.size=0 can't be used", "Set inners.a.size to such a value."),
        ({"outer": 1}, "outer is no key of this config.", "Remove outer."),
    ],
)
@pytest.mark.parametrize("prefix", ["", "section."])
def test_error_has_path_value_and_requirement(values: dict[str, Any], what: str, remedy: str, prefix: str) -> None:
    with pytest.raises(ValidationError) as error:
        Whole.model_validate(values)
    explained = explain_validation_error(error.value, values, prefix)
    key = what.split(" ")[0].split("=")[0]
    assert explained.what.startswith(prefix + what)
    assert explained.remedy.startswith(remedy.replace(key, prefix + key))


@pytest.mark.parametrize(
    ("word", "end"), [("sise", ", or write size"), ("size", ", or write size"), ("colour", ""), ("", "")]
)
def test_nearest_is_a_choice_with_a_similar_spelling(word: str, end: str) -> None:
    assert nearest(word, ["size", "weight"]) == end


class WithRule(StrictModel):
    """Two numbers in order."""

    lower: int
    upper: int

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lower > self.upper:
            raise ValueError("lower is above upper")
        return self


@pytest.mark.parametrize(("prefix", "section"), [("attack.", "attack"), ("", "the config")])
def test_rule_of_a_whole_section_is_told(prefix: str, section: str) -> None:
    values = {"lower": 2, "upper": 1}
    with pytest.raises(ValidationError) as invalid:
        WithRule(**values)
    error = explain_validation_error(invalid.value, values, prefix)
    assert error.what == f"{section} can't be used: lower is above upper."
    assert error.remedy == f"Correct {section}."


class EveryType(StrictModel):
    """Each kind of value that the schema has."""

    name: Name = "x"
    text: str | None = None
    path: Path = Path()
    flag: bool = True
    choice: Literal[True, False, "later"] = True
    count: Count = 1
    share: Share = 0.5
    of_class: ClassNumber = 0
    pairs: Annotated[list[tuple[int, int]], Field(min_length=1)] = [(0, 1)]  # noqa: RUF012
    radii: dict[Literal["l1", "l2"], Number] = {}  # noqa: RUF012
    members: Annotated[dict[Key, Inner], Field(min_length=1)] = {}  # noqa: RUF012
    node: Target = {}  # noqa: RUF012
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (
            {"name": "a/b"},
            "name=a/b can't be used: it should be a name of letters, digits and _, in which . and - may",
        ),
        ({"name": "a\n"}, "name=a\n can't be used: it should be a name of letters"),
        ({"name": 3}, "name=3 can't be used: it should be a text, such as \"name='3'\"."),
        ({"text": 2.5}, "text=2.5 can't be used: it should be a text, such as \"text='2.5'\"."),
        ({"path": 3}, "path=3 can't be used: it should be a path, such as \"path='3'\"."),
        ({"flag": "maybe"}, "flag=maybe can't be used: it should be true or false."),
        ({"flag": None}, "flag=null can't be used: it should be true or false."),
        ({"choice": "never"}, "choice=never can't be used: it should be true, false or 'later'."),
        ({"count": 2.5}, "count=2.5 can't be used: it should be a valid integer."),
        ({"count": "many"}, "count=many can't be used: it should be a valid integer."),
        ({"count": "9" * 5000}, f"count={'9' * 5000} can't be used: it should be a smaller number."),
        ({"share": "half"}, "share=half can't be used: it should be a valid number."),
        ({"share": 1}, "share=1 can't be used: it should be less than 1."),
        ({"share": float("nan")}, "share=nan can't be used: it should be a finite number."),
        ({"of_class": 2.5}, "of_class=2.5 can't be used: it should be the number or the name of a class (with"),
        ({"of_class": -1}, "of_class=-1 can't be used: it should be greater than or equal to 0."),
        ({"pairs": []}, "pairs=[] can't be used: it should be a list or a mapping of length 1 or more."),
        (
            {"pairs": [[1, 2, 3]]},
            "pairs.0=[1,2,3] can't be used: it should be a list or a mapping of length 2 or less",
        ),
        ({"pairs": 7}, "pairs=7 can't be used: it should be a valid list."),
        ({"pairs": [7]}, "pairs.0=7 can't be used: it should be a valid list."),
        ({"radii": {"l3": 1}}, "radii.l3 can't be used: its name should be 'l1' or 'l2'."),
        ({"radii": 3}, "radii=3 can't be used: it should be a mapping of keys to values."),
        ({"members": {}}, "members={} can't be used: it should be a list or a mapping of length 1 or more."),
        (
            {"members": {"a b": {"size": 1}}},
            "members.a b can't be used: its name should be a name of letters, digits",
        ),
        (
            {"node": 3},
            "node=3 can't be used: it should be a mapping with a _target_, the import path of a class or fu",
        ),
        ({"inner": 3}, "inner=3 can't be used: it should be a mapping of keys to values."),
    ],
)
def test_requirement_of_every_type_ends_the_sentence(values: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError) as error:
        EveryType.model_validate(values)
    explained = explain_validation_error(error.value, values)
    assert explained.what.startswith(what)
    assert explained.what.endswith(".")
    assert "Input" not in explained.what
