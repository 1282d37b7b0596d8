"""Trainings with a NaN or infinite loss."""

from collections.abc import Callable
from pathlib import Path

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

pytestmark = pytest.mark.slow


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
        self.steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(images) * (torch.nan if self.steps > 60 else 1)


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
