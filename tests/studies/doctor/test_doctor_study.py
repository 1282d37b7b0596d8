"""The study `doctor`: what it says of this machine and of a store, and what it removes."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CommandResult

from cam_adv.runtime import installed
from cam_adv.runtime.installed import extras, versions
from cam_adv.studies.doctor.report import extras_text
from cam_adv.training.store import StoreEntry

DAY = 86400
Diagnose = Callable[..., tuple[str, dict[str, Any]]]


def half_a_megabyte(folder: Path) -> dict[str, float]:
    (folder / "model.ckpt").write_bytes(bytes(500_000))
    return {}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four models: of another version or of code that can't be imported, used today or 40 days ago."""
    folder, now = tmp_path / "outputs" / "models", time.time()
    for name, days in (("new", 0), ("old", 40)):
        for kind, recipe in (("stale", {}), ("own", {"network": {}, "trained_by": "my_code.Mine", "code": ""})):
            entry = StoreEntry(folder, f"victim-{kind}-{name}", recipe)
            entry.get_or_train(half_a_megabyte)
            os.utime(entry.folder, (now - days * DAY, now - days * DAY))
    return folder


@pytest.fixture
def diagnose(command: Callable[..., CommandResult]) -> Diagnose:
    """Runs the study; what it prints, and its file. There are no images to load."""

    def run(*overrides: str) -> tuple[str, dict[str, Any]]:
        images = ["dataset=image_folder", "dataset.root=nowhere", "dataset.size=16"]
        done = command("study=doctor", *images, "hydra.run.dir=here", *overrides)
        assert done.code == 0, done.err
        return done.out, json.loads(Path("here/doctor.json").read_text())

    return run


def names(store: Path) -> set[str]:
    return {path.name.rpartition("-")[0].removeprefix("victim-") for path in store.glob("victim-*")}


def test_says_versions_devices_and_extras(diagnose: Diagnose) -> None:
    printed, content = diagnose()
    assert content["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert re.search(rf"torch +{re.escape(content['versions']['torch'])}", printed)
    assert content["devices"]["CPU"] == f"{os.cpu_count()} cores; PyTorch uses {torch.get_num_threads()} threads"
    assert "hardware.precision=32-true" in content["devices"]["a run takes"]
    assert content["extras"] == extras()
    assert "holds no models" in printed
    assert not Path("outputs/models").exists()


def test_without_prune_nothing_is_removed(diagnose: Diagnose, store: Path) -> None:
    printed, content = diagnose()
    assert names(store) == {"stale-new", "stale-old", "own-new", "own-old"}
    assert [(one["name"], one["state"], one["fate"]) for one in content["models"]] == [
        ("victim-own-new", "not importable", None),
        ("victim-own-old", "not importable", None),
        ("victim-stale-new", "other version", None),
        ("victim-stale-old", "other version", None),
    ]
    assert "4 models (2.0 MB), of which 2 models (1.0 MB) are stale." in printed
    assert "study.prune=stale removes them" in printed


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        (["study.prune=stale"], {"own-new", "own-old"}),
        (["study.prune=unused"], {"own-new"}),
        (["study.prune=unused", "study.unused_days=50"], {"own-new", "own-old"}),
    ],
)
def test_prune_removes_what_it_names(diagnose: Diagnose, store: Path, overrides: list[str], left: set[str]) -> None:
    printed, content = diagnose(*overrides)
    assert names(store) == left
    removed = 4 - len(left)
    assert [one["fate"] for one in content["models"]].count("removed") == removed
    assert f"Removed {removed} models ({removed / 2:.1f} MB)." in printed


def test_prune_keeps_what_is_in_use(diagnose: Diagnose, store: Path) -> None:
    with StoreEntry(store, "victim-stale-old", {}).in_use():
        printed, _ = diagnose("study.prune=stale")
    assert names(store) == {"stale-old", "own-new", "own-old"}
    assert "kept: in use" in printed
    assert "Removed 1 model (0.5 MB)." in printed


def test_unknown_prune_is_refused(command: Callable[..., CommandResult], store: Path) -> None:
    answer = command("study=doctor", "study.prune=all")
    assert answer.code == 2
    assert "study.prune=all" in answer.err
    assert "stale" in answer.err
    assert len(names(store)) == 4


class TestExtras:
    @pytest.fixture
    def requirements(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package requires torch, and has three extras of which one is another one's sum."""
        lines = [
            "torch>=2",
            'torch<9; extra == "one"',
            "no-such>=1; extra == 'two'",
            'cam-adv[one]; extra == "three"',
        ]
        monkeypatch.setattr(installed.metadata, "requires", lambda name: lines)

    @pytest.mark.usefixtures("requirements")
    def test_of_the_metadata_are_told_apart(self) -> None:
        torch_version = versions()["torch"]
        assert extras() == {"one": {"torch": torch_version}, "two": {"no-such": None}}
        assert extras_text(extras()) == {
            "one": f"torch {torch_version}",
            "two": "not installed: pip install 'cam-adv[two]'",
        }

    def test_of_a_package_that_is_not_installed_are_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(installed, "DISTRIBUTION", "no-such-package")
        assert extras() == {}
