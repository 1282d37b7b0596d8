"""Trainings of one run at the same time: the same models as one after another, and no process left by an error."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from conftest import compose
from filelock import FileLock
from preloaded import ONE_THREAD, PRELOADED, start_command
from torch import Tensor
from torch.nn import functional

from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.models.victims import MLP
from cam_adv.runtime.start_method import use_known_start_method
from cam_adv.training import side_by_side
from cam_adv.training.model_zoo import ModelHandle, ModelZoo
from cam_adv.training.side_by_side import train_side_by_side
from cam_adv.training.store import CHECKPOINT
from cam_adv.training.train import TrainSpec

pytestmark = pytest.mark.slow


class SmallMLP(MLP):
    """A user's own victim, which has dropout, and a loss of NaN where it is told so."""

    def __init__(
        self, in_channels: int, num_classes: int, image_size: tuple[int, int], diverges: bool = False
    ) -> None:
        super().__init__(in_channels, num_classes, image_size, hidden=8)
        self.factor = torch.nan if diverges else 1.0

    def forward(self, images: Tensor) -> Tensor:
        dropped = functional.dropout(images, 0.1, self.training)
        return super().forward(dropped) * (self.factor if self.training else 1)


def own_victim(tiny: Sequence[str], *further: str) -> list[str]:
    """The tiny run with `SmallMLP` as its victim, which is trained for two epochs, as the generator is."""
    others = [one for one in tiny if not one.startswith(("model/victim", "model.victim", "model.generator.training"))]
    others += ["model/victim=own", f"model.victim.network._target_={__name__}.SmallMLP"]
    others += ["model.victim.training.epochs=2", "model.victim.training.batch_size=16"]
    others += [f"model.generator.training.{one}=1" for one in ("svae_epochs", "discriminator_epochs")]
    return [*others, "model.generator.training.batch_size=16", *further]


def prepare(overrides: Sequence[str], splits: ImageSplits, store: Path, number: int) -> list[ModelHandle]:
    """The victim and the generator, trained `number` at a time."""
    settings = settings_from(compose([*overrides, f"hardware.trainings={number}"]))
    zoo = ModelZoo(splits, "tiny", store, settings.hardware)
    models = zoo.models(settings.model, {"victim", "generator"}).all()
    zoo.prepare(models, retrain=False)
    return models


def training_of(model: ModelHandle) -> TrainSpec:
    assert model.training is not None
    return model.training


@pytest.fixture
def preloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes with everything imported; none of them is left at the end."""
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    forkserver.set_forkserver_preload(PRELOADED)
    monkeypatch.setattr(side_by_side, "START_METHOD", "forkserver")
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.usefixtures("preloaded")
class TestTrainSideBySide:
    def test_models_equal_those_trained_alone(self, tiny: list[str], splits: ImageSplits, tmp_path: Path) -> None:
        together = prepare(own_victim(tiny), splits, tmp_path / "together", 2)
        alone = prepare(own_victim(tiny), splits, tmp_path / "alone", 1)
        for one, other in zip(together, alone, strict=True):
            assert training_of(one).entry.metrics() == training_of(other).entry.metrics()
            expected = other.network.state_dict()
            for name, value in one.network.state_dict().items():
                assert torch.equal(value, expected[name]), name
                assert value.stride() == expected[name].stride()

    def test_error_of_one_ends_the_others(self, tiny: list[str], splits: ImageSplits, tmp_path: Path) -> None:
        """The generator's training of hours beside one that diverges."""
        overrides = own_victim(tiny, "+model.victim.network.diverges=true")
        overrides = [one.replace("svae_epochs=1", "svae_epochs=100000") for one in overrides]
        with pytest.raises(UserError, match="train/loss is nan at step 0 of a training, in epoch 0") as refusal:
            prepare(overrides, splits, tmp_path, 2)
        assert refusal.value.remedy.startswith("Lower its training.learning_rate")
        assert {path.suffix for path in tmp_path.glob("[!.]*")} == {".training"}

    def test_killed_process_raises(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(side_by_side, "_train", _kill_this_process)
        with pytest.raises(UserError, match="A process that trained a model was killed"):
            prepare(own_victim(tiny), splits, tmp_path, 2)


def _kill_this_process(file: Path, index: int, since: float) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_network_that_cannot_be_pickled_raises(tiny: list[str], splits: ImageSplits, tmp_path: Path) -> None:
    settings = settings_from(compose(own_victim(tiny)))
    (model,) = ModelZoo(splits, "tiny", tmp_path, settings.hardware).models(settings.model, {"victim"}).all()
    model.network.activation = lambda values: values  # type: ignore[assignment]
    with pytest.raises(UserError, match="A network can't be sent to a process") as refusal:
        train_side_by_side([training_of(model)] * 2, 0.0, 2)
    assert "hardware.trainings" in refusal.value.remedy


def test_start_method_of_a_joblib_worker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[str] = []
    monkeypatch.setattr(multiprocessing, "set_start_method", lambda method, force: replaced.append(method))
    for method in ("loky", "spawn"):
        monkeypatch.setattr(multiprocessing, "get_start_method", lambda method=method: method)
        use_known_start_method()
    assert replaced == ["spawn"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_all_trainings(tiny: list[str], tmp_path: Path, number: signal.Signals) -> None:
    overrides = [*tiny, "study=train", "role=surrogates", "model.surrogates.training.epochs=100000"]
    running = start_command([*overrides, "hardware.trainings=2"], tmp_path, start_method="forkserver")
    while len(list(tmp_path.glob(f"outputs/models/*.training/{CHECKPOINT}"))) < 2:
        assert running.poll() is None, running.result().err
        time.sleep(0.02)
    running.send_signal(number)
    code, _, err = running.result(20)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in err
    locks = list(tmp_path.glob("outputs/models/.*.lock"))
    assert len(locks) == 2
    for lock in locks:  # which a training holds as long as its process lives
        FileLock(lock).acquire(timeout=10).lock.release()
