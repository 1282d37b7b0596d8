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
        keys = {"dataset", "role", "network", "code", "training", "trained_by", "seed", "precision"}
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


class ViewNet(nn.Module):
    """Flattens by `Tensor.view`, which needs contiguous maps."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.linear = nn.Linear(4 * image_size[0] * image_size[1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.convolution(images).relu().view(len(images), -1))


class ViewDecoder(nn.Module):
    """A generator's decoder that does so."""

    code_shape = (4,)

    def __init__(self, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (in_channels, *image_size)
        self.start = nn.Linear(4, 4 * image_size[0] * image_size[1])
        self.convolution = nn.Conv2d(4, 2 * in_channels, 3, padding=1)
        self.end = nn.Linear(2, 1)

    def decode(self, z: Tensor) -> Tensor:
        maps = self.convolution(self.start(z).unflatten(1, (4, *self.shape[1:])))
        return self.end(maps.view(len(z), -1, 2)).sigmoid().view(len(z), *self.shape)


class Frozen(ViewNet):
    """Every weight is frozen."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__(in_channels, num_classes, image_size)
        self.requires_grad_(False)


def scripted(in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    return torch.jit.script(ViewNet(in_channels, num_classes, image_size))


def traced_inside(in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    network = ViewNet(in_channels, num_classes, image_size)
    return nn.Sequential(torch.jit.trace(network, torch.zeros(2, in_channels, *image_size)))


class TestOwnNetworks:
    def test_only_shipped_networks_become_channels_last(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        own_weight = victim(tiny, splits, tmp_path, *own("ViewNet")).network.convolution.weight  # type: ignore[union-attr]
        shipped_weight = victim(tiny, splits, tmp_path).network.features[2][0].weight  # type: ignore[index, union-attr]
        assert own_weight.is_contiguous()
        assert shipped_weight.is_contiguous(memory_format=torch.channels_last)
        assert not shipped_weight.is_contiguous()

    def test_decoder_that_views_is_accepted(self, tiny: list[str], splits: ImageSplits, tmp_path: Path) -> None:
        decoder = [f"model.generator.network.decoder._target_={__name__}.ViewDecoder"]
        settings = settings_from(
            compose([*(one for one in tiny if "generator" not in one), "model/generator=own", *decoder])
        )
        model = ModelZoo(splits, "here", tmp_path, settings.hardware).models(settings.model, {"generator"}).generator
        assert model is not None
        assert model.network.decode(torch.zeros(2, 4)).shape == (2, 1, 16, 16)  # type: ignore[operator]

    @pytest.mark.parametrize(("name", "trained"), [("scripted", ""), ("traced_inside", "model.victim.training=null")])
    def test_torchscript_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, name: str, trained: str
    ) -> None:
        with pytest.raises(UserError, match=f"{name} made a TorchScript module") as refusal:
            victim(tiny, splits, tmp_path, *own(name), *filter(None, [trained]))
        assert "torch.save(script.state_dict(), FILE) and model.victim.weights=FILE" in refusal.value.remedy

    def test_state_dict_of_torchscript_fits_the_network_that_it_was_made_from(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        """The remedy above."""
        script = scripted(1, 3, (16, 16))
        torch.save(script.state_dict(), tmp_path / "weights.pth")
        given = f"model.victim.weights={tmp_path}/weights.pth"
        network = victim(tiny, splits, tmp_path, *own("ViewNet"), given).network
        images = splits.test.images[:5].float() / 255
        assert torch.equal(network(images), script(images))

    def test_frozen_network_is_refused_for_a_training_and_taken_as_it_is(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match="Frozen has no weights that can be trained") as refusal:
            victim(tiny, splits, tmp_path, *own("Frozen"))
        assert "model.victim.training=null" in refusal.value.remedy
        assert victim(tiny, splits, tmp_path, *own("Frozen"), "model.victim.training=null").training is None


class TestVictimFromPython:
    """`check_victim`: what the config's victims must pass, a network from a notebook must pass, too."""

    @pytest.fixture
    def zoo(self, tiny: list[str], splits: ImageSplits, tmp_path: Path) -> ModelZoo:
        return ModelZoo(splits, "here", tmp_path, settings_with(tiny, []).hardware)

    @pytest.mark.parametrize(
        ("last", "message"),
        [
            (nn.Softmax(dim=1), "The victim returns probabilities, not logits"),
            (
                nn.ConstantPad1d((0, 1), 0.0),
                r"The victim returns \(8, 4\) for 8 images, but the dataset has 3 classes",
            ),
            (nn.Flatten(0), r"The victim returns \(24,\)"),
        ],
    )
    def test_outputs_that_a_config_may_not_have_are_refused(
        self, zoo: ModelZoo, last: nn.Module, message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            zoo.check_victim(nn.Sequential(OneChannel(3), last))

    def test_network_in_training_mode_passes_and_stays_as_it_is(self, zoo: ModelZoo) -> None:
        network = nn.Sequential(nn.Dropout(0.5), OneChannel(3)).train()
        nn.init.constant_(network[1].linear.bias, -1.0)  # type: ignore[union-attr, arg-type]
        assert zoo.check_victim(network) is network
        assert all(part.training for part in network.modules())

    def test_networks_of_the_zoo_are_not_checked_again(self, zoo: ModelZoo, tiny: list[str]) -> None:
        """One that the package has trained may be poor, and is what is studied all the same."""
        made = zoo.victim(settings_with(tiny, []).model.victim).network
        with torch.no_grad():
            made.classifier.weight.fill_(torch.nan)  # type: ignore[union-attr, operator]
        assert zoo.check_victim(made) is made


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
