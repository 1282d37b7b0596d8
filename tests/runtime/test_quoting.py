"""An override as it is written into a shell is read back as the same text."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cam_adv.runtime.quoting import written


@pytest.mark.parametrize(
    "text", ["/tmp/x", "/tmp/a run", "0_attack.strength=2", "a,b", "ä", "(1)", "it's", "a\\b=\\", "123"]
)
def test_written_text_is_read_back(text: str) -> None:
    (word,) = shlex.split(written("run", text))
    assert OverridesParser.create().parse_override(word).value() == text


def test_plain_text_is_written_as_it_is() -> None:
    assert written("run", "/tmp/outputs/a-1_2.x") == "run=/tmp/outputs/a-1_2.x"
