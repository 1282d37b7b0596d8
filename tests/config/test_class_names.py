"""Classes named in the config become numbers, once the images are loaded."""

import logging
import unicodedata

import pytest
from conftest import CLASS_NAMES, compose

from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.errors import UserError

DIGITS = tuple("0123456789")


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
    sampled = composed("selection.source=generated", "selection.target=generated").with_class_numbers(names)
    assert (sampled.selection.source, sampled.selection.source_class, sampled.selection.target) == (
        "generated",
        None,
        2,
    )
    assert caplog.messages == [
        "selection.source=generated means samples of the generator; the class of this name is selection.source=2."
    ]
    real = composed("selection.source=2").with_class_numbers(names)
    assert (real.selection.source, real.selection.source_class) == (2, 2)
    assert len(caplog.messages) == 1


def test_digits_are_numbers_whatever_the_class_is_called() -> None:
    """Class 7 of these is called "2": the number wins."""
    settings = composed("selection.source='7'", "selection.target=2").with_class_numbers(tuple(reversed(DIGITS)))
    assert (settings.selection.source, settings.selection.target) == (7, 2)


def test_settings_without_names_are_unchanged() -> None:
    settings = composed("selection.source=3", "selection.target=next")
    assert settings.with_class_numbers(DIGITS) == settings


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
