"""Victims as users have them: with normalised pixels, weights from a file, of torchvision, or for other channels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import compose
from torch import Tensor, nn

from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.normalized import Normalized
from cam_adv.models.torchvision_classifier import torchvision_classifier
from cam_adv.training.model_zoo import ModelHandle, ModelZoo

COLOUR = ["model/victim=torchvision", "model.victim.network.name=resnet18"]


class ThreeChannels(nn.Module):
    """A network that reads coloured images alone."""

    channels = 3

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(self.channels, 4, 3), nn.ReLU())
        self.linear = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.features(images).mean(dim=(2, 3)))


class OneChannel(ThreeChannels):
    """A network that reads gray images alone."""

    channels = 1


def own(name: str) -> list[str]:
    return ["model/victim=own", f"model.victim.network._target_={__name__}.{name}"]


def coloured(splits: ImageSplits) -> ImageSplits:
    def colour(part: LabelledImages) -> LabelledImages:
        return LabelledImages(part.images.expand(-1, 3, -1, -1).contiguous(), part.labels)

    return ImageSplits(colour(splits.train), colour(splits.validation), colour(splits.test), splits.class_names)


def settings_with(tiny: list[str], overrides: Sequence[str]) -> Settings:
    other = any(override.startswith("model/victim=") for override in overrides)
    return settings_from(compose([*(one for one in tiny if not (other and "widths" in one)), *overrides]))


def victim(tiny: list[str], splits: ImageSplits, store: Path, *overrides: str) -> ModelHandle:
    settings = settings_with(tiny, overrides)
    return ModelZoo(splits, "here", store, settings.hardware).victim(settings.model.victim)


def recipe(model: ModelHandle) -> dict[str, Any]:
    assert model.training is not None
    return dict(model.training.entry.recipe)


@pytest.fixture
def weights(tiny: list[str], splits: ImageSplits, tmp_path: Path) -> Path:
    """A file with weights of the tiny victim, drawn from another seed."""
    file = tmp_path / "weights.pth"
    torch.save(victim(tiny, splits, tmp_path, "model.victim.seed=7").network.state_dict(), file)
    return file


class TestRecipe:
    def test_without_the_keys_nothing_is_added(self, tiny: list[str], splits: ImageSplits, tmp_path: Path) -> None:
        """Models that were trained before these keys existed are still found."""
        keys = {"dataset", "role", "network", "code", "training", "seed", "precision"}
        assert recipe(victim(tiny, splits, tmp_path)).keys() == keys

    def test_each_key_makes_another_model(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, weights: Path
    ) -> None:
        made = [
            victim(tiny, splits, tmp_path, *overrides)
            for overrides in (
                [],
                ["model.victim.mean=[0.5]"],
                ["model.victim.mean=[0.4]"],
                ["model.victim.mean=[0.5]", "model.victim.std=[0.5]"],
                [f"model.victim.weights={weights}"],
            )
        ]
        folders = {model.training.entry.folder for model in made if model.training is not None}
        assert len(folders) == len(made)

    def test_weights_count_by_content_not_by_path(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, weights: Path
    ) -> None:
        moved = tmp_path / "moved.pth"
        moved.write_bytes(weights.read_bytes())
        first, second = (
            recipe(victim(tiny, splits, tmp_path, f"model.victim.weights={file}")) for file in (weights, moved)
        )
        assert first == second


class TestWeights:
    def test_training_begins_with_them(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, weights: Path
    ) -> None:
        model = victim(tiny, splits, tmp_path, f"model.victim.weights={weights}")
        saved = torch.load(weights, weights_only=True)
        assert all(torch.equal(value, saved[key]) for key, value in model.network.state_dict().items())

    def test_with_a_normalisation_they_are_those_of_the_network_inside(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, weights: Path
    ) -> None:
        overrides = [f"model.victim.weights={weights}", "model.victim.mean=[0.25]", "model.victim.std=[0.5]"]
        network = victim(tiny, splits, tmp_path, *overrides).network
        assert isinstance(network, Normalized)
        plain = victim(tiny, splits, tmp_path, f"model.victim.weights={weights}").network
        images = splits.test.images[:5].float() / 255
        assert torch.equal(network(images), plain((images - 0.25) / 0.5))

    def test_weights_that_do_not_fit_are_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, weights: Path
    ) -> None:
        with pytest.raises(UserError, match=r"doesn't fit cam_adv\.models\.victims\.GapCNN: it has in another shape"):
            victim(tiny, splits, tmp_path, f"model.victim.weights={weights}", "model.victim.network.widths=[4,8,16]")


class TestChannels:
    def test_coloured_victim_on_gray_images_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError) as refused:
            victim(tiny, splits, tmp_path, *own("ThreeChannels"), "model.victim.mean=[0.5,0.5,0.5]")
        assert "ThreeChannels reads images of 3 channels, but those of the dataset have 1." in refused.value.what
        assert "dataset.gray=false" in refused.value.remedy

    def test_gray_victim_on_coloured_images_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match="reads images of 1 channels, but those of the dataset have 3") as refused:
            victim(tiny, coloured(splits), tmp_path, *own("OneChannel"))
        assert "dataset.gray=true" in refused.value.remedy

    def test_coloured_victim_on_coloured_images_is_built(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        mean = ["model.victim.mean=[0.485,0.456,0.406]", "model.victim.std=[0.229,0.224,0.225]"]
        network = victim(tiny, coloured(splits), tmp_path, *own("ThreeChannels"), *mean).network
        assert isinstance(network, Normalized)
        assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])

    def test_mean_of_three_channels_for_a_gray_victim_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=r"model\.victim\.mean has 3 numbers, but the images have 1 channel\."):
            victim(tiny, splits, tmp_path, "model.victim.mean=[0.5,0.5,0.5]")


class TestTorchvision:
    def test_network_of_this_name_has_the_classes_of_the_dataset(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        model = victim(tiny, coloured(splits), tmp_path, *COLOUR)
        assert model.title == "victim torchvision_resnet18"
        assert type(model.network).__name__ == "ResNet"
        assert model.network.fc.out_features == 3  # type: ignore[union-attr]

    def test_gray_images_are_refused(self, tiny: list[str], splits: ImageSplits, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="torchvision_classifier reads images of 3 channels"):
            victim(tiny, splits, tmp_path, *COLOUR)

    def test_unknown_name_is_refused_with_choices(self) -> None:
        with pytest.raises(UserError) as refused:
            torchvision_classifier("ResNet-18", 3)
        assert refused.value.what == "model.victim.network.name=ResNet-18 is no classifier of torchvision."
        assert "resnet18" in refused.value.remedy

    def test_further_arguments_reach_the_model(self) -> None:
        assert torchvision_classifier("mobilenet_v2", 4, width_mult=0.25).classifier[1].out_features == 4  # type: ignore[index, union-attr]

    def test_googlenet_returns_logits_in_training_too(self) -> None:
        network = torchvision_classifier("googlenet", 3, init_weights=False).train()
        assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.victim.std=[0]", "model.victim.std.0=0"),
        ("model.victim.mean=0.5", "model.victim.mean=0.5"),
        ("model.victim.mean=[]", "model.victim.mean="),
        ("model.victim.mean=[dark]", "model.victim.mean.0=dark"),
        ("model.victim.weights=3", "model.victim.weights=3"),
    ],
)
def test_values_of_another_type_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        settings_from(compose([override]))
    assert message in refused.value.what
