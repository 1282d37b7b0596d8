"""The overrides that name the folder of a sweep's job."""

from pathlib import Path

import pytest

from cam_adv.sweep.jobs import swept_overrides

TASK = ("dataset=mnist", "model/victim=mlp", "+own.note='a/b, c'", "attack.strength=2.5")


@pytest.mark.parametrize(
    ("planned", "name"),
    [
        (["attack.strength=1,2.5"], "attack.strength=2.5"),
        (["attack.strength=range(1,4)", "model/victim=mlp,lenet"], "model/victim=mlp,attack.strength=2.5"),
        (["+own.note=choice(x,'a/b, c')", "dataset=mnist"], "+own.note='a/b, c'"),
        (["dataset=mnist"], "everything"),
    ],
)
def test_only_swept_overrides_are_returned(tmp_path: Path, planned: list[str], name: str) -> None:
    text = "\n".join(f"      - {override}" for override in planned)
    (tmp_path / "multirun.yaml").write_text(f"hydra:\n  overrides:\n    task:\n{text}\n")
    assert swept_overrides(str(tmp_path), TASK, "everything") == name


def test_sweep_without_config_returns_default(tmp_path: Path) -> None:
    assert swept_overrides(str(tmp_path), TASK, "everything") == "everything"
