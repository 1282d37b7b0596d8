"""Configs of the user's own, in the folder where the command is started."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CommandResult, compose
from omegaconf import OmegaConf

from cam_adv.config.user_configs import FOLDER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory of `command`, with an attack of the user's own."""
    (tmp_path / FOLDER / "attack").mkdir(parents=True)
    (tmp_path / FOLDER / "attack" / "mine.yaml").write_text("defaults: [type1, _self_]\nname: mine\nsteps: 7\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_user_config_is_a_choice_of_its_group(command: Callable[..., CommandResult]) -> None:
    config = OmegaConf.create(command("--cfg", "job", "attack=mine").out)
    assert (config.attack.name, config.attack.steps) == ("mine", 7)
    assert config.attack.init == compose(["attack=type1"]).attack.init


def test_user_config_with_the_name_of_a_shipped_one_is_refused(
    command: Callable[..., CommandResult], folder: Path
) -> None:
    (folder / FOLDER / "attack" / "type1.yaml").write_text("name: type1\n")
    result = command("--cfg", "job")
    assert result.err.startswith(f"cam-adv: {FOLDER}/attack/type1.yaml has the name of a config of cam-adv.\n")
    assert result.code == 2


@pytest.mark.usefixtures("folder")
def test_misspelt_choice_is_answered_with_user_configs_too(command: Callable[..., CommandResult]) -> None:
    assert "mine" in command("attack=nine").err
