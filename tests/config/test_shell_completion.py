"""Shell completion, as the shell requests it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ONE_THREAD, CommandResult

from cam_adv.config.user_configs import FOLDER

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        (
            "cam-adv attack=type1_",
            {f"attack=type1_{end}" for end in ("cam", "fast", "latent", "long", "photographs", "robust")},
        ),
        ("cam-adv -m model/victim=gap", {f"model/victim=gap_cnn{end}" for end in ("", "_deep", "_tiny")}),
        ("cam-adv attack=type1_cam attack.weights.ca", {"attack.weights.cam="}),
        ("cam-adv study=attack_c", {"study=attack_comparison"}),
        ("cam-adv attack=mi", {"attack=mine"}),
        ("cam-adv hydra/launcher=submitit_l", {"hydra/launcher=submitit_local"}),
    ],
)
def test_groups_choices_and_keys_are_completed(
    command_process: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    line: str,
    completions: set[str],
) -> None:
    (tmp_path / FOLDER / "attack").mkdir(parents=True)
    (tmp_path / FOLDER / "attack" / "mine.yaml").write_text("name: mine\n")
    monkeypatch.setenv("COMP_LINE", line)
    result = command_process(["-sc", "query=bash"], tmp_path)
    assert result.code == 0, result.err
    assert result.err == ""
    assert set(result.out.split()) == completions


def test_completion_imports_no_torch_and_reads_the_main_config_once(tmp_path: Path) -> None:
    script = """
import sys
from hydra._internal.config_repository import ConfigRepository
reads, load = [], ConfigRepository.load_config
ConfigRepository.load_config = lambda self, config_path: reads.append(config_path) or load(self, config_path)
from cam_adv.cli import main
sys.argv = ["cam-adv", "-sc", "query=bash"]
main()
print(reads.count("config"), *sorted({"torch", "lightning", "numpy", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | ONE_THREAD | {"COMP_LINE": "cam-adv "},
        capture_output=True,
        text=True,
        check=True,
    )
    completions, loaded = done.stdout.splitlines()
    assert {"attack=", "attack.", "dataset=", "model/", "study=", "study.", "selection."} <= set(completions.split())
    assert loaded == "1"
