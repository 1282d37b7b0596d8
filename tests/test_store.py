"""The model store trains what is missing once, goes on where it was stopped, and reads nothing but tensors."""

import math
import multiprocessing
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import compose
from lightning.pytorch import LightningModule
from torch import nn

import cam_adv
from cam_adv.config import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.settings import Settings
from cam_adv.training.store import CHECKPOINT, Entry
from cam_adv.training.workshop import Model, Workshop

RECIPE = {
    "dataset": "abc",
    "role": "victim",
    "network": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3},
    "training": {"epochs": 2, "augmentation": {"shift": 1.0}},
    "seed": 0,
}


def entry(root: Path, **changes: object) -> Entry:
    return Entry(root, "victim-linear-digits", RECIPE | changes)


def write(module: nn.Module, value: float) -> Callable[[Path], dict[str, float]]:
    """A training that leaves all weights at `value`."""

    def train(folder: Path) -> dict[str, float]:
        state = {name: torch.full_like(weight, value) for name, weight in module.state_dict().items()}
        torch.save({"state_dict": state}, folder / CHECKPOINT)
        return {"accuracy": value}

    return train


class Recorder:
    """Unpickling it leaves a file: proof that code ran."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


class TestDigest:
    def test_is_the_same_for_the_same_recipe(self, tmp_path: Path) -> None:
        again = Entry(tmp_path / "elsewhere", "other", dict(reversed(RECIPE.items())))
        assert entry(tmp_path).digest == again.digest
        assert len(again.digest) == 12
        assert again.folder.name == f"other-{again.digest}"

    def test_changes_with_every_part(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changes = [
            {},
            {"dataset": "abd"},
            {"role": "judge"},
            {"network": RECIPE["network"] | {"out_features": 4}},
            {"training": RECIPE["training"] | {"epochs": 3}},
            {"training": {"epochs": 2, "augmentation": {"shift": 2.0}}},
            {"seed": 1},
            {"more": None},
        ]
        digests = [entry(tmp_path, **change).digest for change in changes]
        monkeypatch.setattr(cam_adv, "__version__", "0.0.0")
        assert len({*digests, entry(tmp_path).digest}) == len(changes) + 1


class TestCreate:
    def test_trains_what_is_missing_and_no_more(self, tmp_path: Path) -> None:
        one, module = entry(tmp_path), nn.Linear(2, 3)
        assert not one.exists()
        one.create(write(module, 0.25))
        one.create(write(module, 0.5))
        one.load_into(module)
        assert one.exists()
        assert module.weight.unique().tolist() == [0.25]
        assert one.metrics() == {"accuracy": 0.25}
        assert not one.training_folder.exists()

    def test_replaces_when_told(self, tmp_path: Path) -> None:
        one, module = entry(tmp_path), nn.Linear(2, 3)
        one.create(write(module, 0.25))
        (one.folder / "left over").touch()
        one.create(write(module, 0.5), since=math.inf)
        one.load_into(module)
        assert (module.bias.unique().tolist(), one.metrics()) == ([0.5], {"accuracy": 0.5})
        assert not (one.folder / "left over").exists()

    @pytest.mark.parametrize("anew", [False, True])
    def test_goes_on_in_what_a_stopped_training_left(self, tmp_path: Path, anew: bool) -> None:
        one, module = entry(tmp_path), nn.Linear(2, 3)

        def stopped(folder: Path) -> dict[str, float]:
            (folder / "half").touch()
            raise KeyboardInterrupt

        def second(folder: Path) -> dict[str, float]:
            return write(module, float((folder / "half").exists()))(folder)

        with pytest.raises(KeyboardInterrupt):
            one.create(stopped)
        assert (one.training_folder / "half").exists()
        assert not one.exists()
        one.create(second, since=math.inf if anew else 0.0)
        assert one.metrics() == {"accuracy": float(not anew)}

    def test_keeps_the_old_model_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        one, module = entry(tmp_path), nn.Linear(2, 3)
        one.create(write(module, 0.25))

        def stopped(folder: Path) -> dict[str, float]:
            write(module, 0.5)(folder)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            one.create(stopped, since=math.inf)
        one.load_into(module)
        assert module.weight.unique().tolist() == [0.25]

    def test_trains_once_for_two_processes(self, tmp_path: Path) -> None:
        processes = multiprocessing.get_context("fork")
        start = processes.Barrier(3)

        def train(folder: Path) -> dict[str, float]:
            with (tmp_path / "trainings").open("a") as file:
                file.write("one\n")
            time.sleep(0.3)
            return write(nn.Linear(2, 3), 0.25)(folder)

        def work() -> None:
            start.wait()
            entry(tmp_path / "store").create(train)
            entry(tmp_path / "store").load_into(nn.Linear(2, 3))

        workers = [processes.Process(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert (tmp_path / "trainings").read_text() == "one\n"


class TestLoad:
    @pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "no weights", "no metrics", "code"])
    def test_refuses_what_is_damaged(self, tmp_path: Path, damage: str) -> None:
        one, module = entry(tmp_path), nn.Linear(2, 3)
        one.create(write(module, 0.25))
        path, ran = one.folder / CHECKPOINT, tmp_path / "ran"
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:-200])
        elif damage in ("empty", "text"):
            path.write_bytes(b"" if damage == "empty" else b"not a checkpoint")
        elif damage == "missing":
            path.unlink()
        elif damage == "no weights":
            torch.save({"epoch": 3}, path)
        elif damage == "no metrics":
            (one.folder / "metrics.json").write_text('{"accuracy": 0.')
        else:
            torch.save({"state_dict": module.state_dict(), "more": Recorder(ran)}, path)
        with pytest.raises(UserError) as refusal:
            one.load_into(module)
        assert str(path) in refusal.value.what
        assert str(one.folder) in refusal.value.remedy
        assert "retrain=true" in refusal.value.remedy
        assert not ran.exists()

    def test_refuses_another_architecture(self, tmp_path: Path) -> None:
        one = entry(tmp_path)
        one.create(write(nn.Linear(2, 3), 0.25))
        for other in (nn.Linear(2, 4), nn.Linear(2, 3, bias=False), nn.Sequential(nn.Linear(2, 3))):
            with pytest.raises(UserError, match=r"model\.ckpt"):
                one.load_into(other)

    def test_makes_nothing_that_hyperparameters_name(self, tmp_path: Path) -> None:
        one, module = entry(tmp_path), nn.Linear(2, 3)
        one.create(write(module, 0.25))
        smuggled = {"_target_": "pathlib.Path.touch", "_args_": [str(tmp_path / "ran")]}
        torch.save({"state_dict": module.state_dict(), "hyper_parameters": smuggled}, one.folder / CHECKPOINT)
        one.load_into(module)
        assert not (tmp_path / "ran").exists()

    def test_the_recorder_records(self, tmp_path: Path) -> None:
        """The test above could fail: an unpickling that runs code leaves the file."""
        pickle.loads(pickle.dumps(Recorder(tmp_path / "ran")))
        assert (tmp_path / "ran").exists()


def workshop(settings: Settings, splits: ImageSplits, store: Path) -> Workshop:
    return Workshop(splits, settings.dataset.name, store, settings.hardware)


def model(settings: Settings, splits: ImageSplits, store: Path, role: str) -> Model:
    """The victim or the generator with its first weights."""
    return getattr(workshop(settings, splits, store).models(settings.model, role, False), role)


@pytest.fixture(scope="module")
def whole(settings: Settings, splits: ImageSplits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Weights of both roles, trained without a stop."""
    weights = {}
    for role in ("victim", "generator"):
        store = tmp_path_factory.mktemp(role)
        one = model(settings, splits, store, role)
        workshop(settings, splits, store).prepare([one], retrain=False)
        weights[role] = {name: value.clone() for name, value in one.network.state_dict().items()}
    return weights


class TestTraining:
    def test_is_the_same_each_time(
        self, settings: Settings, splits: ImageSplits, whole: dict, tmp_path: Path
    ) -> None:
        one = model(settings, splits, tmp_path, "victim")
        untrained = {name: value.clone() for name, value in one.network.state_dict().items()}
        workshop(settings, splits, tmp_path).prepare([one], retrain=False)
        trained = one.network.state_dict()
        assert all(torch.equal(trained[name], value) for name, value in whole["victim"].items())
        assert not torch.equal(trained["classifier.weight"], untrained["classifier.weight"])

    @pytest.mark.parametrize("ending", [RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize(
        ("role", "epoch", "hook"),
        [
            ("victim", 3, "on_train_batch_start"),
            ("victim", 2, "on_validation_epoch_end"),
            ("victim", 6, "on_test_epoch_start"),
            ("generator", 3, "on_train_batch_start"),
            ("generator", 6, "on_train_batch_start"),
        ],
    )
    def test_goes_on_where_it_was_stopped(
        self,
        settings: Settings,
        splits: ImageSplits,
        whole: dict,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        role: str,
        epoch: int,
        hook: str,
        ending: type[BaseException],
    ) -> None:
        one = model(settings, splits, tmp_path, role)
        assert one.training is not None

        def stop(self: LightningModule, *arguments: object) -> None:
            if self.trainer.current_epoch == epoch and arguments[-1:] != (0,):  # amid an epoch, not at its start
                raise ending

        with monkeypatch.context() as patch:
            patch.setattr(type(one.training.module), hook, stop, raising=False)
            with pytest.raises((ending, SystemExit)):
                workshop(settings, splits, tmp_path).prepare([one], retrain=False)
        assert not one.training.entry.exists()
        assert (one.training.entry.training_folder / CHECKPOINT).exists()

        begun: list[int] = []
        monkeypatch.setattr(
            type(one.training.module),
            "on_train_epoch_start",
            lambda self: begun.append(self.trainer.current_epoch),
            raising=False,
        )
        again = model(settings, splits, tmp_path, role)
        workshop(settings, splits, tmp_path).prepare([again], retrain=False)
        assert 0 not in begun
        for name, value in again.network.state_dict().items():
            assert torch.allclose(value.float(), whole[role][name].float(), atol=1e-6), name

    @pytest.mark.parametrize(
        "damage",
        ["truncated", "code", "a list", "only weights", "another network", "no tensors", "a path that climbs out"],
    )
    def test_says_what_to_do_with_a_damaged_half_trained_model(
        self, settings: Settings, splits: ImageSplits, tmp_path: Path, damage: str
    ) -> None:
        one = model(settings, splits, tmp_path, "victim")
        assert one.training is not None
        folder = one.training.entry.training_folder
        folder.mkdir(parents=True)
        whole = {
            "state_dict": one.training.module.state_dict(),
            **{"optimizer_states": [], "lr_schedulers": [], "loops": {}, "epoch": 0, "global_step": 0},
        }
        hostile = {
            "code": {"more": Recorder(tmp_path / "ran")},
            "another network": {"state_dict": nn.Linear(2, 3).state_dict()},
            "no tensors": {"state_dict": dict.fromkeys(whole["state_dict"], "text")},
            "a path that climbs out": {"callbacks": {"checkpoint": {"best_model_path": f"{folder}/../../mine"}}},
        }
        if damage in hostile:
            torch.save(whole | hostile[damage], folder / CHECKPOINT)
        elif damage == "a list":
            torch.save([1, 2], folder / CHECKPOINT)
        elif damage == "only weights":
            torch.save({"state_dict": whole["state_dict"]}, folder / CHECKPOINT)
        else:
            (folder / CHECKPOINT).write_bytes(b"PK\x03\x04 half a checkpoint")
        with pytest.raises(UserError, match=r"\.training"):
            workshop(settings, splits, tmp_path).prepare([one], retrain=False)
        assert not (tmp_path / "ran").exists()

    def test_meets_the_images_in_another_order_in_each_epoch(
        self, settings: Settings, splits: ImageSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = model(settings, splits, tmp_path, "victim")
        assert one.training is not None
        orders: dict[int, list[int]] = {}

        def note(self: LightningModule, batch: tuple[torch.Tensor, torch.Tensor], number: int) -> None:
            orders.setdefault(self.trainer.current_epoch, []).extend(batch[1].tolist())

        monkeypatch.setattr(type(one.training.module), "on_train_batch_start", note, raising=False)
        workshop(settings, splits, tmp_path).prepare([one], retrain=False)
        assert {len(labels) for labels in orders.values()} == {80}  # 5 batches of 16, the rest of 84 is dropped
        assert len({tuple(labels) for labels in orders.values()}) == len(orders) == 6

    @pytest.mark.parametrize("batch_size", [84, 42, 28, 21, 16, 14])
    def test_trains_however_few_steps_there_are(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, batch_size: int
    ) -> None:
        """One epoch of 84 images: 1, 2, 3, 4, 5 or 6 steps."""
        short = ["model.victim.training.epochs=1", f"model.victim.training.batch_size={batch_size}"]
        settings = settings_from(compose([*tiny, *short]))
        one = model(settings, splits, tmp_path, "victim")
        before = one.network.classifier.weight.clone()
        workshop(settings, splits, tmp_path).prepare([one], retrain=False)
        assert one.network.classifier.weight.isfinite().all()
        assert not torch.equal(one.network.classifier.weight, before)

    def test_measures_what_it_made(self, settings: Settings, splits: ImageSplits, tmp_path: Path) -> None:
        """The stored accuracy is that of the stored weights on the test images."""
        one = model(settings, splits, tmp_path, "victim")
        workshop(settings, splits, tmp_path).prepare([one], retrain=False)
        assert one.training is not None
        logits = one.network(splits.test.images.float() / 255)
        loss = nn.functional.cross_entropy(logits, splits.test.labels)
        metrics = one.training.entry.metrics()
        assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == splits.test.labels).float().mean().item())
        assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert not any(module.training for module in one.network.modules())

    def test_depends_on_the_seed_and_the_images(
        self, settings: Settings, splits: ImageSplits, tmp_path: Path
    ) -> None:
        digests = set()
        for seed in (0, 1):
            victim = settings.model.victim.model_copy(update={"seed": seed})
            seeded = settings.model_copy(update={"model": settings.model.model_copy(update={"victim": victim})})
            for part in (splits, replace(splits, train=splits.train[torch.arange(len(splits.train) - 1)])):
                training = model(seeded, part, tmp_path, "victim").training
                assert training is not None
                digests.add(training.entry.digest)
        assert len(digests) == 4
