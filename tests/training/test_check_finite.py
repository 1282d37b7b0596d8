"""Trainings with a NaN or infinite loss."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import CommandResult, compose
from torch import Tensor

from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.models.victims import MLP
from cam_adv.training.model_zoo import ModelZoo
from cam_adv.training.store import CHECKPOINT
from cam_adv.training.training_module import CHECK_INTERVAL, TrainingModule


class TestTrainingModule:
    @pytest.fixture
    def module(self, monkeypatch: pytest.MonkeyPatch) -> TrainingModule:
        """At step 40 of a training without checkpoints."""
        module = TrainingModule()
        monkeypatch.setattr(
            module, "_trainer", SimpleNamespace(global_step=40, current_epoch=2, checkpoint_callback=None)
        )
        return module

    def test_first_infinite_term_raises_after_an_interval(self, module: TrainingModule) -> None:
        for batch in range(CHECK_INTERVAL - 1):
            module.trainer.global_step = 40 + batch  # type: ignore[misc]
            module.record("train", {"a": torch.tensor(1.0), "b": torch.tensor(torch.inf if batch >= 7 else 0.0)})
        with pytest.raises(
            UserError, match="train/b is inf at step 47 of a training, in epoch 2; there is no checkpoint"
        ):
            module.record("train", {"a": torch.tensor(1.0), "b": torch.tensor(0.0)})

    @pytest.mark.parametrize("end", ["on_train_epoch_end", "on_validation_epoch_end", "on_test_epoch_end"])
    def test_nan_raises_at_the_end_of_an_epoch(self, module: TrainingModule, end: str) -> None:
        module.record("test", {"loss": torch.tensor(torch.nan)})
        with pytest.raises(UserError, match="test/loss is nan at step 40"):
            getattr(module, end)()

    def test_averages_of_the_training_terms_are_logged_for_each_epoch(
        self, module: TrainingModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logged: dict[str, float] = {}
        monkeypatch.setattr(module, "log", lambda name, value: logged.update({name: value.item()}))
        for values in ([1.0, 2.0, 6.0], [5.0]):
            for value in values:
                module.record("train", {"loss": torch.tensor(value)})
                module.record("validation", {"loss": torch.tensor(100.0)})
            module.on_validation_epoch_end()
            module.on_train_epoch_end()
            assert logged == {"train/loss": sum(values) / len(values)}


@pytest.mark.slow
@pytest.mark.parametrize(("role", "term"), [("victim", "train/loss"), ("generator", "train/objective")])
def test_diverged_training_is_reported_with_its_step(
    command: Callable[..., CommandResult], tiny: list[str], role: str, term: str
) -> None:
    result = command(*tiny, "study=train", f"role={role}", f"model.{role}.training.learning_rate=1e30")
    assert result.code == 2
    assert f"{term} is nan at step" in result.err.replace("inf", "nan")
    assert "of a training, in epoch" in result.err
    assert "training.learning_rate" in result.err
    assert "Traceback" not in result.err


class NaNFromStep60(MLP):
    """Its logits are NaN from the 60th training step on."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__(in_channels, num_classes, image_size, hidden=8)
        self.steps = -1  # the network is tried once in training mode before it is trained

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(images) * (torch.nan if self.steps > 60 else 1)


@pytest.mark.slow
def test_last_finite_checkpoint_is_kept(settings: Settings, splits: ImageSplits, tmp_path: Path) -> None:
    own = ["model/victim=own", f"model.victim.network._target_={__name__}.NaNFromStep60"]
    victim = settings_from(compose(own)).model.victim
    assert settings.model.victim.training is not None
    training = settings.model.victim.training.model_copy(update={"epochs": 20})
    config = settings.model.model_copy(update={"victim": victim.model_copy(update={"training": training})})
    zoo = ModelZoo(splits, "tiny", tmp_path, settings.hardware)
    (model,) = zoo.models(config, {"victim"}).all()
    assert model.training is not None
    with pytest.raises(UserError, match="train/loss is nan at step 60 of a training") as refusal:
        zoo.prepare([model], retrain=False)
    checkpoint = model.training.entry.training_folder / CHECKPOINT
    assert f"the last good checkpoint is {checkpoint}" in refusal.value.what
    content = torch.load(checkpoint, weights_only=True)
    steps_in_epoch = -(-len(splits.train) // 16)
    assert content["global_step"] == 60 // steps_in_epoch * steps_in_epoch
    assert all(value.isfinite().all() for value in content["state_dict"].values())
