"""The model store: each model is trained once, an interrupted training is resumed, and only tensors are unpickled."""

import math
import multiprocessing
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recorder import Recorder
from torch import nn

import cam_adv
from cam_adv.errors import UserError
from cam_adv.training.store import CHECKPOINT, StoreEntry

NETWORK = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
TRAINING = {"epochs": 2, "augmentation": {"shift": 1.0}}
RECIPE = {"dataset": "abc", "role": "victim", "network": NETWORK, "training": TRAINING, "seed": 0}


def store_entry(root: Path, **changes: object) -> StoreEntry:
    return StoreEntry(root, "victim-linear-digits", RECIPE | changes)


def train_to(module: nn.Module, value: float) -> Callable[[Path], dict[str, float]]:
    """A training at whose end all weights are `value`."""

    def train(folder: Path) -> dict[str, float]:
        state = {name: torch.full_like(weight, value) for name, weight in module.state_dict().items()}
        torch.save({"state_dict": state}, folder / CHECKPOINT)
        return {"accuracy": value}

    return train


class TestDigest:
    def test_same_recipe_gives_same_digest(self, tmp_path: Path) -> None:
        other = StoreEntry(tmp_path / "elsewhere", "other", dict(reversed(RECIPE.items())))
        assert store_entry(tmp_path).digest == other.digest
        assert len(other.digest) == 12
        assert other.folder.name == f"other-{other.digest}"

    def test_every_change_gives_another_digest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"dataset": "abd"},
            {"role": "judge"},
            {"network": NETWORK | {"out_features": 4}},
            {"training": TRAINING | {"epochs": 3}},
            {"training": {"epochs": 2, "augmentation": {"shift": 2.0}}},
            {"seed": 1},
            {"more": None},
        ]
        digests = [store_entry(tmp_path, **change).digest for change in changes]
        monkeypatch.setattr(cam_adv, "__version__", "0.0.0")
        assert len({*digests, store_entry(tmp_path).digest}) == len(changes) + 1


class TestGetOrTrain:
    def test_existing_model_is_not_trained_again(self, tmp_path: Path) -> None:
        entry, module = store_entry(tmp_path), nn.Linear(2, 3)
        assert not entry.exists()
        entry.get_or_train(train_to(module, 0.25))
        entry.get_or_train(train_to(module, 0.5))
        entry.load_into(module)
        assert entry.exists()
        assert module.weight.unique().tolist() == [0.25]
        assert entry.metrics() == {"accuracy": 0.25}
        assert not entry.training_folder.exists()

    def test_older_model_is_replaced(self, tmp_path: Path) -> None:
        entry, module = store_entry(tmp_path), nn.Linear(2, 3)
        entry.get_or_train(train_to(module, 0.25))
        (entry.folder / "left over").touch()
        entry.get_or_train(train_to(module, 0.5), since=math.inf)
        entry.load_into(module)
        assert (module.bias.unique().tolist(), entry.metrics()) == ([0.5], {"accuracy": 0.5})
        assert not (entry.folder / "left over").exists()

    @pytest.mark.parametrize("retrain", [False, True])
    def test_interrupted_training_is_resumed_unless_it_is_older(self, tmp_path: Path, retrain: bool) -> None:
        entry, module = store_entry(tmp_path), nn.Linear(2, 3)

        def interrupted(folder: Path) -> dict[str, float]:
            (folder / "half").touch()
            raise KeyboardInterrupt

        def second(folder: Path) -> dict[str, float]:
            return train_to(module, float((folder / "half").exists()))(folder)

        with pytest.raises(KeyboardInterrupt):
            entry.get_or_train(interrupted)
        assert (entry.training_folder / "half").exists()
        assert not entry.exists()
        entry.get_or_train(second, since=math.inf if retrain else 0.0)
        assert entry.metrics() == {"accuracy": float(not retrain)}

    def test_old_model_is_kept_until_the_new_one_is_complete(self, tmp_path: Path) -> None:
        entry, module = store_entry(tmp_path), nn.Linear(2, 3)
        entry.get_or_train(train_to(module, 0.25))

        def interrupted(folder: Path) -> dict[str, float]:
            train_to(module, 0.5)(folder)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            entry.get_or_train(interrupted, since=math.inf)
        entry.load_into(module)
        assert module.weight.unique().tolist() == [0.25]

    def test_three_processes_train_once(self, tmp_path: Path) -> None:
        processes = multiprocessing.get_context("fork")
        start = processes.Barrier(3)

        def train(folder: Path) -> dict[str, float]:
            with (tmp_path / "trainings").open("a") as file:
                file.write("one\n")
            time.sleep(0.3)
            return train_to(nn.Linear(2, 3), 0.25)(folder)

        def work() -> None:
            start.wait()
            store_entry(tmp_path / "store").get_or_train(train)
            store_entry(tmp_path / "store").load_into(nn.Linear(2, 3))

        workers = [processes.Process(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert (tmp_path / "trainings").read_text() == "one\n"


class TestLoadInto:
    @pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "no weights", "no metrics", "code"])
    def test_damaged_model_is_refused(self, tmp_path: Path, damage: str) -> None:
        entry, module = store_entry(tmp_path), nn.Linear(2, 3)
        entry.get_or_train(train_to(module, 0.25))
        path, executed = entry.folder / CHECKPOINT, tmp_path / "executed"
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:-200])
        elif damage in ("empty", "text"):
            path.write_bytes(b"" if damage == "empty" else b"not a checkpoint")
        elif damage == "missing":
            path.unlink()
        elif damage == "no weights":
            torch.save({"epoch": 3}, path)
        elif damage == "no metrics":
            (entry.folder / "metrics.json").write_text('{"accuracy": 0.')
        else:
            torch.save({"state_dict": module.state_dict(), "more": Recorder(executed)}, path)
        with pytest.raises(UserError) as refusal:
            entry.load_into(module)
        assert str(path) in refusal.value.what
        assert str(entry.folder) in refusal.value.remedy
        assert "retrain=true" in refusal.value.remedy
        assert not executed.exists()

    def test_other_architecture_is_refused(self, tmp_path: Path) -> None:
        entry = store_entry(tmp_path)
        entry.get_or_train(train_to(nn.Linear(2, 3), 0.25))
        for other in (nn.Linear(2, 4), nn.Linear(2, 3, bias=False), nn.Sequential(nn.Linear(2, 3))):
            with pytest.raises(UserError, match=r"model\.ckpt"):
                entry.load_into(other)

    def test_target_in_hyperparameters_is_not_instantiated(self, tmp_path: Path) -> None:
        entry, module = store_entry(tmp_path), nn.Linear(2, 3)
        entry.get_or_train(train_to(module, 0.25))
        hostile = {"_target_": "pathlib.Path.touch", "_args_": [str(tmp_path / "executed")]}
        torch.save({"state_dict": module.state_dict(), "hyper_parameters": hostile}, entry.folder / CHECKPOINT)
        entry.load_into(module)
        assert not (tmp_path / "executed").exists()

    def test_recorder_leaves_a_file_where_it_is_unpickled(self, tmp_path: Path) -> None:
        """Otherwise the tests above could not fail."""
        pickle.loads(pickle.dumps(Recorder(tmp_path / "executed")))
        assert (tmp_path / "executed").exists()
