"""Training what a decoder lacks: the objectives, what each phase trains, the recipe, and an interrupted training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import compose
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.generators.svae import SVAE
from cam_adv.training.discriminator_loss import discriminator_loss
from cam_adv.training.latent_heads import LatentHeads, LatentHeadsTraining
from cam_adv.training.model_zoo import ModelHandle, ModelZoo
from cam_adv.training.train import has_batch_statistics

SIZE = (16, 16)


class Sketch(nn.Module):
    """Draws columns and rows from six numbers."""

    code_shape = 6

    def __init__(self, scale: float = 3.0) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 256)
        self.layer.weight.data *= scale

    def decode(self, z: Tensor) -> Tensor:
        return self.layer(z).sigmoid().unflatten(1, (1, *SIZE))


class ClassSketch(Sketch):
    """Each class shifts the code."""

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert y is not None
        return super().decode(z + 3 * nn.functional.one_hot(y, 6))


class Turned(nn.Module):
    """Codes are the pixels, in another order."""

    code_shape = (256,)

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1).flip(1)

    def decode(self, z: Tensor) -> Tensor:
        return z.flip(1).unflatten(1, (1, *SIZE))


class FrozenNorm(Sketch):
    """With batch norm, which is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def decode(self, z: Tensor) -> Tensor:
        return self.norm(super().decode(z)).clamp(0, 1)


class FromFile(nn.Module):
    """A `Sketch` with weights from a file."""

    code_shape = 6

    def __init__(self, weights: str, strength: float = 1.0) -> None:
        super().__init__()
        self.sketch, self.strength = Sketch(), strength
        self.sketch.load_state_dict(torch.load(weights))

    def decode(self, z: Tensor) -> Tensor:
        return self.sketch.decode(self.strength * z)


class NoisyEncoder(nn.Module):
    """Depends on the batch and on chance while it is trained."""

    def __init__(self, in_channels: int, image_size: tuple[int, int], out_features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(math.prod(image_size))
        self.rest = nn.Sequential(nn.Dropout(0.5), nn.Linear(math.prod(image_size), out_features))

    def forward(self, images: Tensor) -> Tensor:
        return self.rest(self.norm(images.flatten(1)))


NOISY = (
    "~model.generator.network.encoder.width",
    "~model.generator.network.encoder.hidden",
    f"model.generator.network.encoder._target_={__name__}.NoisyEncoder",
)


def overrides_for(tiny: Sequence[str], decoder: str, *further: str) -> list[str]:
    """The tiny run's settings with this decoder."""
    others = [one for one in tiny if not one.startswith(("model.generator", "model/generator"))]
    small = ["network.encoder.width=4", "network.encoder.hidden=16", "network.inversion.steps=3"]
    small += ["training.encoder_epochs=2", "training.head_epochs=2", "training.batch_size=16"]
    target = f"model.generator.network.decoder._target_={__name__}.{decoder}"
    return [*others, "model/generator=own", target, *(f"model.generator.{one}" for one in small), *further]


def handle(tiny: Sequence[str], splits: ImageSplits, store: Path, decoder: str, *further: str) -> ModelHandle:
    settings = settings_from(compose(overrides_for(tiny, decoder, *further)))
    model = ModelZoo(splits, "here", store, settings.hardware).models(settings.model, {"generator"}).generator
    assert model is not None
    return model


def train(tiny: Sequence[str], splits: ImageSplits, store: Path, decoder: str, *further: str) -> ModelHandle:
    settings = settings_from(compose(overrides_for(tiny, decoder, *further)))
    zoo = ModelZoo(splits, "here", store, settings.hardware)
    model = zoo.models(settings.model, {"generator"}).generator
    assert model is not None
    zoo.prepare([model], retrain=False)
    return model


def module_of(model: ModelHandle) -> LatentHeads:
    assert model.training is not None
    assert isinstance(model.training.module, LatentHeads)
    return model.training.module


def digest(model: ModelHandle) -> str:
    assert model.training is not None
    return model.training.entry.digest


def batch(splits: ImageSplits) -> tuple[Tensor, Tensor]:
    return splits.train.images[:8].float() / 255, splits.train.labels[:8]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


class TestObjectives:
    def test_encoder_objective_is_the_relative_errors(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        """Each recomputed here from the decoder."""
        module = module_of(handle(tiny, splits, tmp_path, "Sketch"))
        images, labels = batch(splits)
        terms = module._encoder_objective(images, labels, seeded())
        network, z = module.network, torch.randn(8, 6, generator=seeded())
        assert network.code_encoder is not None
        predicted = network.code_encoder(network.decoder.decode(z))
        drawn = network.decoder.decode(network.code_encoder(images))
        assert terms.keys() == {"loss", "code_error", "pixel_error"}
        assert terms["code_error"].item() == pytest.approx(((predicted - z).square().mean() / z.var()).item())
        assert terms["pixel_error"].item() == pytest.approx(
            ((drawn - images).square().mean() / images.var()).item(), rel=1e-5
        )
        assert terms["loss"].item() == pytest.approx((terms["code_error"] + terms["pixel_error"]).item())

    def test_classes_are_learnt_of_drawn_and_of_training_images(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        module = module_of(handle(tiny, splits, tmp_path, "ClassSketch"))
        images, labels = batch(splits)
        terms = module._encoder_objective(images, labels, seeded())
        assert module.network.class_encoder is not None
        log_probs = module.network.class_encoder(images).log_softmax(dim=1)
        assert terms["class_loss"].item() == pytest.approx(-log_probs[torch.arange(8), labels].mean().item())
        assert "drawn_class_loss" in terms

    @pytest.mark.parametrize(
        ("objective", "trained"),
        [
            ("_encoder_objective", {"code_encoder", "class_encoder"}),
            ("_head_objective", {"classifier", "discriminator"}),
        ],
    )
    def test_each_phase_has_gradients_for_its_own_parts_only(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, objective: str, trained: set[str]
    ) -> None:
        module = module_of(handle(tiny, splits, tmp_path, "ClassSketch"))
        getattr(module, objective)(*batch(splits), seeded())["loss"].backward()
        named = module.network.named_parameters()
        assert {name.split(".")[0] for name, weight in named if weight.grad is not None} == trained

    def test_discriminator_loss_of_a_constant_is_ln2(self) -> None:
        """It takes every code for an encoded one, so half of them rightly."""
        loss, accuracy = discriminator_loss(lambda z: 0 * z[:, :1], torch.ones(3, 2), torch.zeros(3, 2))  # type: ignore[arg-type]
        assert loss.item() == pytest.approx(math.log(2))
        assert accuracy.item() == 0.5

    def test_discriminator_loss_of_a_perfect_one_is_zero(self) -> None:
        loss, accuracy = discriminator_loss(lambda z: 99 * z[:, :1] - 50, torch.ones(3, 2), torch.zeros(3, 2))  # type: ignore[arg-type]
        assert loss.item() < 1e-12
        assert accuracy.item() == 1


class TestSettings:
    def make(self, **changes: Any) -> LatentHeadsTraining:
        augmentation = {"shift": 0, "rotation": 0, "scale": 0, "shear": 0, "brightness": 0, "padding": "zeros"}
        values = {"encoder_epochs": 3, "head_epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
        return LatentHeadsTraining(**{**values, "augmentation": augmentation, **changes})

    def test_epochs_are_those_of_both_phases(self) -> None:
        assert self.make().epochs == 5

    def test_another_network_is_refused(self) -> None:
        with pytest.raises(UserError, match="trains parts of a PretrainedGenerator, but the network is a SVAE"):
            self.make().module(SVAE(1, 3, SIZE, 4, 4, 8), seed=0)

    def test_encoder_that_would_not_be_trained_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=r"encoder_epochs=0, but .*Sketch.* needs an encoder"):
            handle(tiny, splits, tmp_path, "Sketch", "model.generator.training.encoder_epochs=0")

    def test_decoder_without_a_training_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=r"model\.generator\.training is null, but .*Sketch"):
            handle(tiny, splits, tmp_path, "Sketch", "model.generator.training=null")

    def test_decoder_that_fails_a_check_is_refused(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        images = LabelledImages(splits.train.images.expand(-1, 3, -1, -1), splits.train.labels)
        colour = ImageSplits(images, images, images, splits.class_names)
        with pytest.raises(UserError, match=r"decode draws \(8, 1, 16, 16\).*\(8, 3, 16, 16\)"):
            handle(tiny, colour, tmp_path, "Sketch")


class TestRecipe:
    def test_weights_of_the_decoder_make_another_model(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, again = (digest(handle(tiny, splits, tmp_path, "Sketch")) for _ in range(2))
        monkeypatch.setattr(Sketch.__init__, "__defaults__", (4.0,))
        assert first == again != digest(handle(tiny, splits, tmp_path, "Sketch"))

    @pytest.mark.parametrize(
        ("change", "same"), [("inversion.steps=9", True), ("encoder.width=6", False), ("code_noise=0.3", False)]
    )
    def test_what_is_trained_makes_another_model_and_the_inversion_does_not(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, change: str, same: bool
    ) -> None:
        plain = handle(tiny, splits, tmp_path, "Sketch")
        changed = handle(tiny, splits, tmp_path, "Sketch", f"model.generator.network.{change}")
        assert (digest(plain) == digest(changed)) is same

    def test_moved_weights_are_the_same_model_and_other_settings_are_not(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        for name in ("first", "moved"):
            torch.manual_seed(0)
            torch.save(Sketch().state_dict(), tmp_path / f"{name}.pt")
        torch.save(Sketch(4.0).state_dict(), tmp_path / "other.pt")
        key = "+model.generator.network.decoder"
        first, moved, other = (
            digest(handle(tiny, splits, tmp_path, "FromFile", f"{key}.weights={tmp_path / name}.pt"))
            for name in ("first", "moved", "other")
        )
        changed = [f"{key}.weights={tmp_path / 'first'}.pt", f"{key}.strength=2"]
        assert first == moved
        assert len({first, other, digest(handle(tiny, splits, tmp_path, "FromFile", *changed))}) == 3

    def test_batch_norm_of_the_frozen_decoder_needs_no_common_statistics(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        assert not has_batch_statistics(module_of(handle(tiny, splits, tmp_path, "FrozenNorm")))
        assert has_batch_statistics(module_of(handle(tiny, splits, tmp_path, "FrozenNorm", *NOISY)))


@pytest.mark.slow
class TestTraining:
    @pytest.mark.parametrize("decoder", ["Sketch", "ClassSketch"])
    def test_encoder_is_in_evaluation_mode_from_the_first_head_epoch_on(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str
    ) -> None:
        modes = []
        statistics = []
        step = LatentHeads.training_step

        def recorded(self: LatentHeads, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            loss = step(self, batch, index)
            encoders = [one for one in (self.network.code_encoder, self.network.class_encoder) if one is not None]
            modes.append((self.current_epoch, *{part.training for one in encoders for part in one.modules()}))
            if self.current_epoch >= self.first_head_epoch:
                statistics.append(encoders[0].state_dict()["norm.running_mean"].clone())
            return loss

        monkeypatch.setattr(LatentHeads, "training_step", recorded)
        network = train(tiny, splits, tmp_path, decoder, *NOISY).network
        assert isinstance(network, PretrainedGenerator)
        assert set(modes) == {(0, True), (1, True), (2, False), (3, False)}
        assert statistics[0].any()
        assert all(torch.equal(one, statistics[0]) for one in statistics)
        codes = network.own_codes(splits.train.images.float() / 255)[0]
        assert torch.allclose(network.code_std, codes.std(dim=0), rtol=1e-4)

    @pytest.mark.parametrize("decoder", ["Sketch", "ClassSketch", "Turned"])
    def test_decoder_is_unchanged_and_the_rest_is_trained(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, decoder: str
    ) -> None:
        before = {
            name: value.clone()
            for name, value in handle(tiny, splits, tmp_path, decoder).network.state_dict().items()
        }
        after = train(tiny, splits, tmp_path, decoder).network.state_dict()
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert {name for name in after if not name.startswith("decoder.")} == changed

    def test_stored_metrics_are_those_of_the_stored_weights(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        model = train(tiny, splits, tmp_path, "Sketch")
        network, images = model.network, splits.test.images.float() / 255
        assert isinstance(network, PretrainedGenerator)
        assert model.training is not None
        metrics = model.training.entry.metrics()
        error = (network.reconstruct(images) - images).square().mean().sqrt().item()
        accuracy = (network.classify(images).argmax(dim=1) == splits.test.labels).float().mean().item()
        assert metrics["reconstruction_rms"] == pytest.approx(error, rel=1e-5)
        assert metrics["f2_accuracy"] == pytest.approx(accuracy)

    def test_codes_are_fitted_before_the_heads_with_the_trained_encoder(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        network = train(tiny, splits, tmp_path, "Sketch").network
        assert isinstance(network, PretrainedGenerator)
        codes = network.encode(splits.train.images.float() / 255).mean
        assert torch.allclose(network.code_std, codes.std(dim=0), atol=1e-5)

    def test_components_of_a_decoder_that_encodes_are_fitted(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path
    ) -> None:
        network = train(tiny, splits, tmp_path, "Turned", "model.generator.network.components=5").network
        assert isinstance(network, PretrainedGenerator)
        codes = network.encode(splits.train.images.float() / 255).mean
        assert torch.allclose(torch.cov(codes.T), torch.eye(5), atol=1e-3)

    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_interrupted_training_is_resumed_to_the_same_weights(
        self, tiny: list[str], splits: ImageSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
    ) -> None:
        undisturbed = train(tiny, splits, tmp_path / "first", "Sketch").network.state_dict()

        def interrupt(self: LightningModule, *arguments: object) -> None:
            if self.current_epoch == epoch and arguments[-1] != 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(LatentHeads, "on_train_batch_start", interrupt, raising=False)
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                train(tiny, splits, tmp_path / "second", "Sketch")
        resumed = train(tiny, splits, tmp_path / "second", "Sketch").network.state_dict()
        for name, value in resumed.items():
            assert torch.equal(value, undisturbed[name]), name
