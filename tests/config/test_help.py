"""The help: its examples are commands that can be composed, and its lists are folded between words."""

import re
from collections.abc import Callable
from importlib import resources

import pytest
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from cam_adv.config.composition import compose
from cam_adv.config.folded_help import COLUMNS, fold_config_groups

TEMPLATE = OmegaConf.create((resources.files("cam_adv.conf") / "config.yaml").read_text()).hydra.help.template
EXAMPLES = re.findall(r"^  cam-adv(.*?)  ", TEMPLATE, re.MULTILINE)


def test_help_has_five_examples_that_compose() -> None:
    assert len(EXAMPLES) == 5
    for example in EXAMPLES:
        words = [word for word in example.split() if word != "-m"]
        assert compose([word.partition(",")[0] for word in words])


def test_list_of_a_group_is_folded_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"choice-{number}" for number in range(20)]

    def listed(self: object, predicate: Callable[[str], bool], compact: bool = True) -> str:
        return f"group: {', '.join(names)}\nother: one"

    monkeypatch.setattr(Hydra, "format_config_groups", listed)
    listed.__name__ = "format_config_groups"
    fold_config_groups()
    lines = Hydra.format_config_groups(None, bool).splitlines()  # type: ignore[arg-type]
    assert lines[-1] == "other: one"
    assert len(lines) == 4
    assert all(len(line) <= COLUMNS for line in lines)
    assert re.findall(r"choice-\d+", "\n".join(lines)) == names
