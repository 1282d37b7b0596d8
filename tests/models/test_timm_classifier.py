"""timm's classifiers by name: what timm is asked for, with a stand-in for it and, where it is installed, itself."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import compose
from torch import nn

from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError
from cam_adv.models.timm_classifier import timm_classifier
from cam_adv.models.weights import load_weights

NAMES = ["resnet18", "resnet34", "vit_tiny_patch16_224"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that the stand-in for timm gets; it has three models, and no network."""
    made: list[dict[str, Any]] = []

    def create_model(name: str, pretrained: bool, **arguments: Any) -> nn.Module:
        made.append({"name": name, "pretrained": pretrained, **arguments})
        if pretrained:
            raise OSError("The file isn't there. Check your connection, please.\nAnd more.")
        if "depth" in arguments:
            raise TypeError("ResNet.__init__() got an unexpected keyword argument 'depth'")
        return nn.Identity()

    stand_in = SimpleNamespace(
        is_model=lambda name: name.split(".")[0] in NAMES, list_models=lambda: NAMES, create_model=create_model
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    return made


def test_channels_and_classes_of_the_dataset_and_further_arguments_reach_timm(calls: list[dict[str, Any]]) -> None:
    assert isinstance(timm_classifier("vit_tiny_patch16_224", 1, 10, img_size=28), nn.Identity)
    assert calls == [
        {"name": "vit_tiny_patch16_224", "pretrained": False, "in_chans": 1, "num_classes": 10, "img_size": 28}
    ]


@pytest.mark.parametrize("stand_in", [None, SimpleNamespace()], ids=["nothing", "a folder of that name"])
def test_missing_package_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch, stand_in: object) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    with pytest.raises(UserError) as refused:
        timm_classifier("resnet18", 3, 10)
    assert refused.value.what == "model/victim=timm needs the package timm."
    assert refused.value.remedy == "Install it with pip install 'cam-adv[timm]'."


@pytest.mark.parametrize(("name", "close"), [("ResNet-18", "resnet18"), ("resnet19.a1", "resnet18"), ("zebra", "")])
def test_unknown_name_is_refused_with_choices(calls: list[dict[str, Any]], name: str, close: str) -> None:
    with pytest.raises(UserError) as refused:
        timm_classifier(name, 3, 10)
    assert refused.value.what == f"model.victim.network.name={name} is no classifier of timm."
    assert close in refused.value.remedy
    assert "timm.list_models()" in refused.value.remedy
    assert calls == []


def test_weights_that_cannot_be_downloaded_are_refused_in_two_sentences(calls: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError) as refused:
        timm_classifier("resnet18.a1_in1k", 3, 10, pretrained=True)
    assert refused.value.what == (
        "timm can't make resnet18.a1_in1k with its pretrained weights: The file isn't there."
    )
    assert refused.value.remedy.startswith("Set model.victim.network.pretrained=false, or run where")


def test_argument_that_the_model_does_not_take_is_refused(calls: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"timm can't make resnet18: ResNet\.__init__\(\) got an unexpected"):
        timm_classifier("resnet18", 3, 10, depth=3)


def test_config_names_the_model_and_asks_for_no_download() -> None:
    settings = settings_from(compose(["model/victim=timm", "model.victim.network.name=resnet18.a1_in1k"]))
    assert settings.model.victim.name == "timm_resnet18.a1_in1k"
    assert settings.model.victim.network["pretrained"] is False


class TestRealPackage:
    @pytest.fixture(autouse=True)
    def _timm(self) -> None:
        pytest.importorskip("timm")

    @pytest.mark.parametrize("channels", [1, 3])
    def test_logits_of_every_class_for_any_number_of_channels(self, channels: int) -> None:
        network = timm_classifier("resnet18", channels, 4).eval()
        assert network(torch.rand(2, channels, 28, 28)).shape == (2, 4)

    def test_transformer_takes_the_size_of_the_images(self) -> None:
        network = timm_classifier("vit_tiny_patch16_224", 1, 4, img_size=28, patch_size=7).eval()
        assert network(torch.rand(2, 1, 28, 28)).shape == (2, 4)

    def test_its_own_checkpoint_is_loaded(self, tmp_path: Path) -> None:
        """As its training script writes it, with the arguments of the command."""
        from timm.utils import CheckpointSaver

        trained = timm_classifier("resnet18", 1, 3)
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        saver = CheckpointSaver(trained, optimizer, None, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path))
        saver.args = Namespace(model="resnet18", lr=0.1)
        saver.save_checkpoint(epoch=0, metric=1.0)
        (file,) = tmp_path.glob("checkpoint-*.pth.tar")
        loaded = timm_classifier("resnet18", 1, 3)
        load_weights(loaded, str(file), "resnet18")
        assert all(torch.equal(value, trained.state_dict()[key]) for key, value in loaded.state_dict().items())
