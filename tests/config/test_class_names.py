"""Classes named in the config become numbers, once the images are loaded."""

import logging
import unicodedata

import pytest
from conftest import CLASS_NAMES, compose

from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.errors import UserError

DIGITS = tuple("0123456789")
PAIRS = "dataset.example_pairs=null"


def composed(*overrides: str, tiny: list[str] | None = None) -> Settings:
    return settings_from(compose([*(tiny or []), *overrides]))


def test_names_and_numbers_mixed_become_numbers(tiny: list[str]) -> None:
    overrides = ["selection.source=dots", "selection.target='wide stripes'"]
    overrides += ["dataset.example_pairs=[[dots,'häuser'],[2,dots],[1,0]]"]
    settings = composed(*overrides, tiny=tiny).with_class_numbers(CLASS_NAMES)
    assert (settings.selection.source, settings.selection.target) == (0, 2)
    assert settings.dataset.example_pairs == [(0, 1), (2, 0), (1, 0)]


def test_letters_composed_differently_are_the_same_name(tiny: list[str]) -> None:
    """A folder that was copied from macOS has its accents apart."""
    apart = unicodedata.normalize("NFD", "häuser")
    settings = composed("selection.source='häuser'", tiny=tiny).with_class_numbers(("dots", apart))
    assert settings.selection.source == 1


@pytest.mark.parametrize("rule", ["random", "next", "every"])
def test_rules_of_the_target_are_not_taken_for_names(rule: str) -> None:
    settings = composed(f"selection.target={rule}").with_class_numbers((*DIGITS, rule))
    assert settings.selection.target == rule


def test_generated_is_the_source_of_samples_and_a_class_of_that_name_has_its_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    names = ("cat", "dog", "generated")
    sampled = composed(PAIRS, "selection.source=generated", "selection.target=generated").with_class_numbers(names)
    assert (sampled.selection.source, sampled.selection.source_class, sampled.selection.target) == (
        "generated",
        None,
        2,
    )
    assert caplog.messages == [
        "selection.source=generated means samples of the generator; the class of this name is selection.source=2."
    ]
    real = composed(PAIRS, "selection.source=2").with_class_numbers(names)
    assert (real.selection.source, real.selection.source_class) == (2, 2)
    assert len(caplog.messages) == 1


def test_number_means_the_class_of_that_name() -> None:
    """The class at position 2 of these is called "7"."""
    settings = composed("selection.source='7'", "selection.target=2").with_class_numbers(tuple(reversed(DIGITS)))
    assert (settings.selection.source, settings.selection.target) == (2, 7)


def test_number_without_a_class_of_that_name_is_refused_where_names_are_other_numbers() -> None:
    with pytest.raises(UserError) as refused:
        composed("selection.source=0").with_class_numbers(("1", "2", "3"))
    assert refused.value.what == "selection.source=0, but mnist_5k has no class of this name."
    assert refused.value.remedy == "Choose from 1, 2, 3."


def test_null_pairs_are_the_first_two_classes_whatever_their_names() -> None:
    settings = composed(PAIRS).with_class_numbers(("1", "2", "3"))
    assert settings.dataset.example_pairs == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        ("2", ("-1", "0.5", "2"), 2),
        ("'-1'", ("-1", "0.5", "2"), 0),
        ("'0.5'", ("-1", "0.5", "2"), 1),
        ("'01'", ("1", "01"), 1),
        ("1", ("1", "01"), 0),
        ("1", ("00", "01"), 1),
        ("3", ("00", "01", "03"), 2),
        ("1", ("0.0", "1.0"), 1),
        ("11", (*DIGITS, "A", "B"), 11),
        ("'true'", ("false", "true"), 1),
        ("'null'", ("null", "x"), 0),
    ],
)
def test_names_that_look_like_values(value: str, names: tuple[str, ...], expected: int) -> None:
    settings = composed(PAIRS, "dataset.classes=null", f"selection.source={value}").with_class_numbers(names)
    assert settings.selection.source == expected


def test_number_or_name_of_several_classes_is_refused_with_what_to_write() -> None:
    settings = composed("selection.source=1")
    with pytest.raises(UserError, match=r"selection\.source=1 means several classes of mnist_5k") as refused:
        settings.with_class_numbers(("01", "001"))
    assert refused.value.remedy == "Write \"selection.source='01'\" or \"selection.source='001'\"."
    with pytest.raises(UserError) as refused:
        composed("selection.source=crane").with_class_numbers(("dog", "crane", "crane"))
    assert refused.value.remedy == "Write selection.source=1 or selection.source=2."


def test_settings_without_names_are_unchanged() -> None:
    settings = composed("selection.source=3", "selection.target=next")
    assert settings.with_class_numbers(DIGITS) == settings


def test_one_source_for_every_pair_is_refused() -> None:
    with pytest.raises(UserError, match=r"selection\.target=every draws from all classes equally"):
        composed("selection.source=3", "selection.target=every")


def test_unknown_name_is_refused_with_key_value_and_choices() -> None:
    with pytest.raises(UserError) as refused:
        composed("selection.target=dgo").with_class_numbers(("cat", "dog"))
    assert refused.value.what == "selection.target=dgo, but mnist_5k has no class of this name."
    assert refused.value.remedy == "Choose from cat, dog, or a number from 0 to 1, or write dog."


def test_unknown_name_among_many_classes_lists_twenty() -> None:
    with pytest.raises(UserError) as refused:
        composed("selection.source=dog").with_class_numbers([f"breed{number}" for number in range(120)])
    assert refused.value.remedy.endswith("breed19 and 100 more, or a number from 0 to 119.")


@pytest.mark.parametrize(("source", "target"), [("cat", "cat"), ("cat", "0"), ("0", "cat")])
def test_target_that_is_the_source_is_refused(source: str, target: str) -> None:
    with pytest.raises(UserError, match="is the class that the images already have"):
        composed(f"selection.source={source}", f"selection.target={target}").with_class_numbers(("cat", "dog"))
