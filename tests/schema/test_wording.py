"""Pydantic's errors as two sentences."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from cam_adv.schema.fields import Count, StrictModel
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
