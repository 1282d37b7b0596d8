"""What a store holds: the state of each model by hand, and a removal that spares what is in use."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import nn

import cam_adv
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.model_zoo import training_code
from cam_adv.training.store import CHECKPOINT, StoreEntry, lock_path
from cam_adv.training.stored_models import StoredModel, stored_models

NETWORK = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
TRAINED_BY = f"{ClassifierModule.__module__}.{ClassifierModule.__qualname__}"


def entry(root: Path, name: str = "gap_cnn", **changes: object) -> StoreEntry:
    recipe = {"network": NETWORK, "trained_by": TRAINED_BY, "code": training_code(NETWORK, ClassifierModule)}
    return StoreEntry(root, f"victim-{name}-digits", recipe | changes)


def save(folder: Path) -> dict[str, float]:
    torch.save({"state_dict": nn.Linear(2, 3).state_dict()}, folder / CHECKPOINT)
    return {"accuracy": 0.5}


def trained(root: Path, name: str = "gap_cnn", **changes: object) -> Path:
    one = entry(root, name, **changes)
    one.get_or_train(save)
    return one.folder


def only(root: Path) -> StoredModel:
    (model,) = stored_models(root)
    return model


class TestStates:
    def test_model_of_todays_code_is_current(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        model = only(tmp_path)
        assert (model.folder, model.name, model.state) == (folder, "victim-gap_cnn-digits", "current")
        assert model.size == sum(path.stat().st_size for path in folder.iterdir())

    def test_model_of_another_version_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trained(tmp_path)
        monkeypatch.setattr(cam_adv, "__version__", "99.0")
        assert only(tmp_path).state == "other version"

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            ({"code": "of yesterday"}, "source changed"),
            ({"normalized": "of yesterday"}, "source changed"),
            ({"trained_by": "cam_adv.no_such_module.Module"}, "not importable"),
            ({"network": NETWORK | {"_target_": "no_such_package.Network"}}, "not importable"),
        ],
    )
    def test_model_of_other_code_is_told(self, tmp_path: Path, changes: dict[str, object], state: str) -> None:
        trained(tmp_path, **changes)
        assert only(tmp_path).state == state

    def test_recipe_without_the_training_is_of_another_version(self, tmp_path: Path) -> None:
        """As before 0.2.0; the digest is its own."""
        one = StoreEntry(tmp_path, "victim-gap_cnn-digits", {"network": NETWORK})
        one.get_or_train(save)
        assert only(tmp_path).state == "other version"

    @pytest.mark.parametrize("recipe", [None, "{"])
    def test_folder_without_a_recipe_is_told(self, tmp_path: Path, recipe: str | None) -> None:
        folder = trained(tmp_path)
        (folder / "recipe.json").unlink()
        if recipe is not None:
            (folder / "recipe.json").write_text(recipe)
        assert only(tmp_path).state == "no recipe"

    def test_interrupted_training_is_told(self, tmp_path: Path) -> None:
        def interrupted(folder: Path) -> dict[str, float]:
            save(folder)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            entry(tmp_path).get_or_train(interrupted)
        assert only(tmp_path).state == "half trained"
        later = time.time() + 1000
        os.utime(only(tmp_path).folder / CHECKPOINT, (later, later))
        assert only(tmp_path).last_used == pytest.approx(later)

    def test_half_removed_model_is_told(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        folder.rename(f"{folder}.old")
        assert only(tmp_path).state == "half removed"

    def test_other_folders_and_files_are_no_models(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        digest = "0123456789ab"
        for name in ("mine", "victim-mine-digits", f"victim-a-digits-{digest}.backup", f"student-a-digits-{digest}"):
            shutil.copytree(folder, tmp_path / name)
        (tmp_path / f"victim-a-digits-{digest}").write_text("a file")
        assert only(tmp_path).folder == folder

    def test_no_store_holds_nothing(self, tmp_path: Path) -> None:
        assert stored_models(tmp_path / "nowhere") == []

    def test_last_use_is_the_last_load(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        os.utime(folder, (1000.0, 1000.0))
        assert only(tmp_path).last_used == 1000.0
        before = (folder / CHECKPOINT).stat().st_mtime
        entry(tmp_path).load_into(nn.Linear(2, 3))
        assert only(tmp_path).last_used >= before


class TestRemove:
    def test_removes_this_model_and_no_other(self, tmp_path: Path) -> None:
        first, second = trained(tmp_path), trained(tmp_path, "lenet")
        assert stored_models(tmp_path)[0].remove()
        assert [model.folder for model in stored_models(tmp_path)] == [second]
        assert not first.exists()
        assert not lock_path(first).exists()
        assert trained(tmp_path) == first
        assert (first / CHECKPOINT).exists()

    def test_keeps_a_model_that_is_in_use(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        with entry(tmp_path).in_use(), entry(tmp_path).in_use():
            assert not only(tmp_path).remove()
            assert (folder / CHECKPOINT).exists()
        assert only(tmp_path).remove()
        assert list(tmp_path.iterdir()) == []

    def test_keeps_a_model_that_is_being_trained(self, tmp_path: Path) -> None:
        trained(tmp_path)
        with entry(tmp_path).lock():
            assert not only(tmp_path).remove()
        assert only(tmp_path).remove()

    def test_mark_of_a_killed_process_counts_no_more(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        mark = tmp_path / f".{folder.name}.0a1b2c3d.use"
        with FileLock(mark):
            assert not only(tmp_path).remove()
        mark.touch()
        assert only(tmp_path).remove()
        assert not mark.exists()

    def test_removes_what_a_removal_and_a_training_left(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        shutil.copytree(folder, f"{folder}.old")
        shutil.copytree(folder, f"{folder}.training")
        left = [model for model in stored_models(tmp_path) if model.folder != folder]
        assert [model.remove() for model in left] == [True, True]
        assert only(tmp_path).folder == folder
        assert json.loads((folder / "metrics.json").read_text()) == {"accuracy": 0.5}

    def test_removes_a_model_and_what_an_earlier_removal_left_of_it(self, tmp_path: Path) -> None:
        folder = trained(tmp_path)
        shutil.copytree(folder, f"{folder}.old")
        models = sorted(stored_models(tmp_path), key=lambda model: model.folder.name)
        assert [model.remove() for model in models] == [True, True]
        assert list(tmp_path.iterdir()) == []

    def test_store_that_may_only_be_read_gives_its_models(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError("read-only")

        trained(tmp_path)
        monkeypatch.setattr(FileLock, "acquire", refuse)
        monkeypatch.setattr(os, "utime", refuse)
        with entry(tmp_path).in_use():
            entry(tmp_path).load_into(nn.Linear(2, 3))
