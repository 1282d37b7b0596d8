"""Trainings through the model zoo: deterministic, resumable, with the metrics and the digest of what they produce."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import compose
from lightning.pytorch import LightningModule
from recorder import Recorder
from torch import Tensor, nn

from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.training.model_zoo import ModelHandle, ModelZoo
from cam_adv.training.store import CHECKPOINT
from cam_adv.training.train import TrainSpec

State = dict[str, Tensor]


def model_zoo(settings: Settings, splits: ImageSplits, store: Path) -> ModelZoo:
    return ModelZoo(splits, settings.dataset.name, store, settings.hardware)


def untrained(settings: Settings, splits: ImageSplits, store: Path, role: str) -> ModelHandle:
    """The victim or the generator with its first weights."""
    model = getattr(model_zoo(settings, splits, store).models(settings.model, {role}), role)
    assert isinstance(model, ModelHandle)
    return model


def training_of(model: ModelHandle) -> TrainSpec:
    assert model.training is not None
    return model.training


@pytest.fixture(scope="module")
def trained(settings: Settings, splits: ImageSplits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, State]:
    """Weights of both roles after an undisturbed training."""
    weights = {}
    for role in ("victim", "generator"):
        store = tmp_path_factory.mktemp(role)
        model = untrained(settings, splits, store, role)
        model_zoo(settings, splits, store).prepare([model], retrain=False)
        weights[role] = {name: value.clone() for name, value in model.network.state_dict().items()}
    return weights


@pytest.mark.parametrize(
    ("roles", "built"),
    [
        ((), set()),
        (("victim",), {"victim gap_cnn"}),
        (("generator",), {"generator svae_gan"}),
        (("judge",), {"judge plain", "judge residual", "judge wide_kernel"}),
        (("surrogates",), {"surrogate dense", "surrogate robust_mlp", "surrogate strided"}),
    ],
)
def test_models_builds_the_roles_asked_for(
    settings: Settings, splits: ImageSplits, tmp_path: Path, roles: Collection[str], built: set[str]
) -> None:
    models = model_zoo(settings, splits, tmp_path).models(settings.model, roles)
    assert {model.title for model in models.all()} == built


@pytest.mark.slow
class TestPrepare:
    def test_training_twice_gives_identical_weights(
        self, settings: Settings, splits: ImageSplits, trained: dict[str, State], tmp_path: Path
    ) -> None:
        model = untrained(settings, splits, tmp_path, "victim")
        before = {name: value.clone() for name, value in model.network.state_dict().items()}
        model_zoo(settings, splits, tmp_path).prepare([model], retrain=False)
        after = model.network.state_dict()
        assert all(torch.equal(after[name], value) for name, value in trained["victim"].items())
        assert not torch.equal(after["classifier.weight"], before["classifier.weight"])

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
    def test_interrupted_training_is_resumed_to_the_same_weights(
        self,
        settings: Settings,
        splits: ImageSplits,
        trained: dict[str, State],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        role: str,
        epoch: int,
        hook: str,
        ending: type[BaseException],
    ) -> None:
        model = untrained(settings, splits, tmp_path, role)
        training = training_of(model)

        def interrupt(self: LightningModule, *arguments: object) -> None:
            # In the middle of an epoch: the last argument of a batch hook is the number of the batch.
            if self.trainer.current_epoch == epoch and arguments[-1:] != (0,):
                raise ending

        with monkeypatch.context() as patched:
            patched.setattr(type(training.module), hook, interrupt, raising=False)
            with pytest.raises((ending, SystemExit)):
                model_zoo(settings, splits, tmp_path).prepare([model], retrain=False)
        assert not training.entry.exists()
        assert (training.entry.training_folder / CHECKPOINT).exists()

        epochs: list[int] = []
        monkeypatch.setattr(
            type(training.module),
            "on_train_epoch_start",
            lambda self: epochs.append(self.trainer.current_epoch),
            raising=False,
        )
        again = untrained(settings, splits, tmp_path, role)
        model_zoo(settings, splits, tmp_path).prepare([again], retrain=False)
        assert 0 not in epochs
        for name, value in again.network.state_dict().items():
            assert torch.allclose(value.float(), trained[role][name].float(), atol=1e-6), name

    def test_each_epoch_has_its_own_order_of_images(
        self, settings: Settings, splits: ImageSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = untrained(settings, splits, tmp_path, "victim")
        labels_of: dict[int, list[int]] = {}

        def record(self: LightningModule, batch: tuple[Tensor, Tensor], number: int) -> None:
            labels_of.setdefault(self.trainer.current_epoch, []).extend(batch[1].tolist())

        monkeypatch.setattr(type(training_of(model).module), "on_train_batch_start", record, raising=False)
        model_zoo(settings, splits, tmp_path).prepare([model], retrain=False)
        assert {len(labels) for labels in labels_of.values()} == {80}  # 5 batches of 16, the rest of 84 is dropped
        assert len({tuple(labels) for labels in labels_of.values()}) == len(labels_of) == 6

    @pytest.mark.parametrize("batch_size", [84, 42, 28, 21, 16, 14])
    def test_one_to_six_steps_train_the_weights(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, batch_size: int
    ) -> None:
        """One epoch of 84 images."""
        short = ["model.victim.training.epochs=1", f"model.victim.training.batch_size={batch_size}"]
        settings = settings_from(compose([*tiny, *short]))
        model = untrained(settings, splits, tmp_path, "victim")
        before = model.network.state_dict()["classifier.weight"].clone()
        model_zoo(settings, splits, tmp_path).prepare([model], retrain=False)
        after = model.network.state_dict()["classifier.weight"]
        assert after.isfinite().all()
        assert not torch.equal(after, before)

    def test_stored_metrics_are_those_of_the_stored_weights(
        self, settings: Settings, splits: ImageSplits, tmp_path: Path
    ) -> None:
        """On the test images."""
        model = untrained(settings, splits, tmp_path, "victim")
        model_zoo(settings, splits, tmp_path).prepare([model], retrain=False)
        logits = model.network(splits.test.images.float() / 255)
        loss = nn.functional.cross_entropy(logits, splits.test.labels)
        metrics = training_of(model).entry.metrics()
        assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == splits.test.labels).float().mean().item())
        assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert not any(module.training for module in model.network.modules())


@pytest.mark.parametrize(
    "damage",
    ["truncated", "code", "a list", "only weights", "another network", "no tensors", "a path that climbs out"],
)
def test_damaged_checkpoint_of_interrupted_training_is_refused(
    settings: Settings, splits: ImageSplits, tmp_path: Path, damage: str
) -> None:
    model = untrained(settings, splits, tmp_path, "victim")
    training = training_of(model)
    folder = training.entry.training_folder
    folder.mkdir(parents=True)
    complete: dict[str, Any] = {
        "state_dict": training.module.state_dict(),
        **{"optimizer_states": [], "lr_schedulers": [], "loops": {}, "epoch": 0, "global_step": 0},
    }
    hostile: dict[str, dict[str, Any]] = {
        "code": {"more": Recorder(tmp_path / "executed")},
        "another network": {"state_dict": nn.Linear(2, 3).state_dict()},
        "no tensors": {"state_dict": dict.fromkeys(complete["state_dict"], "text")},
        "a path that climbs out": {"callbacks": {"checkpoint": {"best_model_path": f"{folder}/../../mine"}}},
    }
    if damage in hostile:
        torch.save(complete | hostile[damage], folder / CHECKPOINT)
    elif damage == "a list":
        torch.save([1, 2], folder / CHECKPOINT)
    elif damage == "only weights":
        torch.save({"state_dict": complete["state_dict"]}, folder / CHECKPOINT)
    else:
        (folder / CHECKPOINT).write_bytes(b"PK\x03\x04 half a checkpoint")
    with pytest.raises(UserError, match=r"\.training"):
        model_zoo(settings, splits, tmp_path).prepare([model], retrain=False)
    assert not (tmp_path / "executed").exists()


def test_seed_and_images_give_their_own_digests(settings: Settings, splits: ImageSplits, tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        victim = settings.model.victim.model_copy(update={"seed": seed})
        seeded = settings.model_copy(update={"model": settings.model.model_copy(update={"victim": victim})})
        for part in (splits, replace(splits, train=splits.train[torch.arange(len(splits.train) - 1)])):
            digests.add(training_of(untrained(seeded, part, tmp_path, "victim")).entry.digest)
    assert len(digests) == 4
