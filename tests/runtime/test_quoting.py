"""An override as it is written into a shell is read back as the same text."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cam_adv.errors import config_text
from cam_adv.runtime.quoting import for_shell, written


@pytest.mark.parametrize(
    "text", ["/tmp/x", "/tmp/a run", "0_attack.strength=2", "a,b", "ä", "(1)", "it's", "a\\b=\\", "123"]
)
def test_written_text_is_read_back(text: str) -> None:
    (word,) = shlex.split(written("run", text))
    assert OverridesParser.create().parse_override(word).value() == text


def test_plain_text_is_written_as_it_is() -> None:
    assert written("run", "/tmp/outputs/a-1_2.x") == "run=/tmp/outputs/a-1_2.x"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=1", "a=1"),
        ("name='a b'", "\"name='a b'\""),
        ("name='$x'", None),
        ("a=[1,2]", "'a=[1,2]'"),
        ('a="b"', None),
    ],
)
def test_override_for_a_shell_is_one_word_of_it(override: str, expected: str | None) -> None:
    assert shlex.split(for_shell(override)) == [override]
    assert expected in (None, for_shell(override))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0, "0"),
        (1.0, "1.0"),
        ("it's", "it's"),
        ([True, [None, 1], "a"], "[true,[null,1],a]"),
        ({"a": None, "b": [0.5]}, "{a:null,b:[0.5]}"),
    ],
)
def test_value_is_spelt_as_in_a_config(value: object, text: str) -> None:
    assert config_text(value) == text
