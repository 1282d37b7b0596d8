"""Generators made of decoders from elsewhere: codes, ranges, classes, and what is frozen."""

from functools import partial
from typing import Any

import pytest
import torch
from decoders import CLASSES, SIZE, ClassDecoder, LinearAutoencoder, SigmoidDecoder, TanhDecoder
from torch import Tensor, nn

from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Posterior
from cam_adv.models.generators.inversion import Inversion
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.generators.strided_encoder import StridedEncoder

ENCODER = partial(StridedEncoder, width=4, hidden=16)


def images(count: int = 30) -> Tensor:
    return torch.rand(count, 1, *SIZE, generator=torch.Generator().manual_seed(0))


def generator(decoder: Any, **changes: Any) -> PretrainedGenerator:
    torch.manual_seed(0)
    made = PretrainedGenerator(decoder, 1, CLASSES, SIZE, **{"encoder": ENCODER, **changes})
    return made.eval()


class WithPosterior(LinearAutoencoder):
    """Says how sure it is of its codes."""

    def encode(self, x: Tensor) -> Posterior:  # type: ignore[override]
        codes = super().encode(x)
        return Posterior(codes, torch.full_like(codes, 0.3))


class TestImages:
    def test_invertible_decoder_gives_images_back(self) -> None:
        assert torch.allclose(generator(LinearAutoencoder()).reconstruct(images()), images(), atol=1e-5)

    def test_all_components_that_vary_give_training_images_back(self) -> None:
        made = generator(LinearAutoencoder(), components=29)
        made.fit_codes(images())
        assert torch.allclose(made.reconstruct(images()), images(), atol=1e-4)

    def test_pixels_are_in_zero_to_one_whatever_the_range_of_the_decoder(self) -> None:
        codes = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(generator(TanhDecoder()).decode(codes), generator(SigmoidDecoder()).decode(codes))

    def test_pixels_beyond_the_range_are_clamped(self) -> None:
        drawn = generator(LinearAutoencoder()).decode(100 * torch.ones(1, 64))
        assert (drawn.min(), drawn.max()) == (0, 1)

    def test_decoder_gets_images_of_its_own_range(self) -> None:
        codes, _ = generator(LinearAutoencoder()).own_codes(images())
        assert torch.allclose(codes, LinearAutoencoder().encode(2 * images() - 1).flatten(1))


class TestCodes:
    def test_components_have_mean_zero_and_covariance_one(self) -> None:
        made = generator(LinearAutoencoder(), components=6)
        made.fit_codes(images())
        z = made.encode(images()).mean
        assert torch.allclose(z.mean(dim=0), torch.zeros(6), atol=1e-5)
        assert torch.allclose(torch.cov(z.T), torch.eye(6), atol=1e-4)

    def test_std_is_the_noise_times_that_of_training_codes(self) -> None:
        made = generator(LinearAutoencoder(), code_noise=0.2)
        made.fit_codes(images())
        posterior = made.encode(images(2))
        assert torch.allclose(posterior.std[1], 0.2 * made.encode(images()).mean.std(dim=0))

    def test_std_of_components_is_the_noise(self) -> None:
        made = generator(LinearAutoencoder(), components=6, code_noise=0.2)
        made.fit_codes(images())
        assert torch.allclose(made.encode(images(2)).std, torch.full((2, 6), 0.2))

    def test_std_of_the_decoder_is_kept(self) -> None:
        assert torch.allclose(generator(WithPosterior()).encode(images(2)).std, torch.full((2, 64), 0.3))

    def test_std_of_the_decoder_is_divided_by_the_components_scale(self) -> None:
        """Directions have length 1, so that equal standard deviations stay equal before the whitening."""
        made = generator(WithPosterior(), components=6)
        made.fit_codes(images())
        assert made.components is not None
        assert torch.allclose(made.encode(images(1)).std[0], 0.3 / made.components.scale)

    def test_fitted_codes_are_part_of_the_state(self) -> None:
        made, other = (generator(LinearAutoencoder(), components=6) for _ in range(2))
        made.fit_codes(images())
        other.load_state_dict(made.state_dict())
        assert torch.equal(other.encode(images(2)).mean, made.encode(images(2)).mean)

    def test_prior_is_normal_or_the_decoders_own(self) -> None:
        class Shifted(SigmoidDecoder):
            def prior(self, count: int, generator: torch.Generator) -> Tensor:
                return 9 + torch.rand(count, 4, generator=generator)

        seeded = torch.Generator().manual_seed
        assert torch.equal(
            generator(SigmoidDecoder()).sample_prior(3, seeded(0)), torch.randn(3, 4, generator=seeded(0))
        )
        assert generator(Shifted()).sample_prior(3, seeded(0)).min() >= 9

    def test_spread_is_that_of_the_encoder_in_evaluation_mode(self) -> None:
        """Dropout of everything would leave no spread, and batch norm one of 1."""

        def encoder(image_size: tuple[int, int], out_features: int, in_channels: int) -> nn.Module:
            layers = [nn.Flatten(), nn.Linear(64, out_features), nn.BatchNorm1d(out_features), nn.Dropout(0.9)]
            return nn.Sequential(*layers)

        made = generator(SigmoidDecoder(), encoder=encoder)
        codes = made.own_codes(images())[0]
        made.train().fit_codes(images())
        assert torch.allclose(made.code_std, codes.std(dim=0))
        assert torch.equal(made.eval().own_codes(images())[0], codes)


class TestClasses:
    def test_code_ends_with_one_hot_class(self) -> None:
        made = generator(ClassDecoder())
        assert made.latent_size == 4 + CLASSES
        for codes in (made.encode(images()).mean, made.sample_prior(30, torch.Generator().manual_seed(0))):
            assert ((codes[:, 4:] == 0) | (codes[:, 4:] == 1)).all()
            assert (codes[:, 4:].sum(dim=1) == 1).all()

    def test_decode_draws_the_largest_class(self) -> None:
        made, z = generator(ClassDecoder()), torch.zeros(2, 4)
        drawn = made.decode(torch.cat([z, torch.tensor([[0.2, 0.9, 0.1], [0.6, 0.5, -3.0]])], dim=1))
        assert torch.equal(drawn, ClassDecoder().decode(z, torch.tensor([1, 0])))

    def test_decode_has_no_gradient_of_the_class(self) -> None:
        codes = generator(ClassDecoder()).sample_prior(3, torch.Generator().manual_seed(0)).requires_grad_()
        generator(ClassDecoder()).decode(codes).square().sum().backward()
        assert codes.grad is not None
        assert codes.grad[:, :4].all()
        assert not codes.grad[:, 4:].any()

    def test_with_class_sets_the_class_alone(self) -> None:
        made = generator(ClassDecoder())
        codes = made.encode(images(2)).mean
        changed = made.with_class(codes, torch.tensor([2, 0]))
        assert torch.equal(changed[:, :4], codes[:, :4])
        assert changed[:, 4:].tolist() == [[0, 0, 1], [1, 0, 0]]

    def test_with_class_leaves_codes_of_a_decoder_without_classes(self) -> None:
        codes = torch.randn(2, 4)
        assert generator(SigmoidDecoder()).with_class(codes, torch.tensor([2, 0])) is codes

    def test_classification_of_images_has_a_gradient_through_the_class(self) -> None:
        x = images(2).requires_grad_()
        generator(ClassDecoder()).encode(x).mean[:, 4:].square().sum().backward()
        assert x.grad is not None
        assert x.grad.any()

    def test_density_of_codes_with_classes_is_finite(self) -> None:
        labels = torch.arange(30) % CLASSES
        made = generator(ClassDecoder())
        codes = made.with_class(made.encode(images()).mean, labels).detach()
        density = LatentDensity(codes, labels)
        other = made.with_class(codes, (labels + 1) % CLASSES).double()
        assert density.excess(codes.double(), labels).isfinite().all()
        assert (density.excess(other, labels) > 100).all()  # a class that none of these codes has


class TestFrozen:
    def test_decoder_stays_in_evaluation_mode_and_needs_no_gradient(self) -> None:
        made = generator(ClassDecoder()).train()
        assert not any(part.training for part in made.decoder.modules())
        assert made.classifier.training
        named = [name for name, weight in made.named_parameters() if weight.requires_grad]
        assert {name.split(".")[0] for name in named} == {
            "code_encoder", "class_encoder", "classifier", "discriminator",
        }  # fmt: skip


class TestInvert:
    def test_error_is_below_that_of_the_encoder(self) -> None:
        made = generator(SigmoidDecoder(), inversion=Inversion(steps=30, learning_rate=0.1))
        targets = made.decode(torch.randn(6, 4, generator=torch.Generator().manual_seed(3)))
        error = [
            (made.decode(find(targets).mean) - targets).square().sum(dim=(1, 2, 3))
            for find in (made.invert, made.encode)
        ]
        assert (error[0] < 0.2 * error[1]).all()

    def test_class_stays_that_of_the_encoder(self) -> None:
        made = generator(ClassDecoder(), inversion=Inversion(steps=5, learning_rate=0.1))
        assert torch.equal(made.invert(images(4)).mean[:, 4:], made.encode(images(4)).mean[:, 4:])

    def test_codes_of_a_decoder_that_encodes_are_left(self) -> None:
        made = generator(LinearAutoencoder(), inversion=Inversion(steps=5, learning_rate=0.1))
        assert torch.equal(made.invert(images(4)).mean, made.encode(images(4)).mean)


class TestMaking:
    def test_function_gets_what_its_signature_has_and_the_config_does_not(self) -> None:
        made = generator(partial(SigmoidDecoder, in_channels=3))
        assert made.decoder.shape == (3, *SIZE)

    @pytest.mark.parametrize(
        ("decoder", "what", "remedy"),
        [
            (nn.Linear(4, 64), "Linear\\) has no decode", "image_module"),
            (lambda: [], "made a list, not a torch.nn.Module", "Give a class of networks"),
            (partial(SigmoidDecoder, image_size=None), "can't be made: TypeError", "+model.generator.network"),
        ],
    )
    def test_what_is_no_decoder_is_refused(self, decoder: Any, what: str, remedy: str) -> None:
        with pytest.raises(UserError, match=what) as refused:
            generator(decoder)
        assert refused.value.what.startswith("model.generator.network.decoder (")
        assert remedy in refused.value.remedy

    @pytest.mark.parametrize(
        ("attribute", "value", "what"),
        [
            ("code_shape", None, "has no code_shape"),
            ("code_shape", (), "has the code_shape ()"),
            ("code_shape", (4, -1), "has the code_shape (4, -1)"),
            ("code_shape", "4x", "has the code_shape 4x"),
            ("pixel_range", (1, 0), "has the pixel_range (1, 0)"),
            ("pixel_range", 255, "has the pixel_range 255"),
        ],
    )
    def test_values_that_are_no_shape_or_range_are_refused(self, attribute: str, value: Any, what: str) -> None:
        decoder = SigmoidDecoder()
        setattr(decoder, attribute, value)
        with pytest.raises(UserError) as refused:
            generator(decoder)
        assert what in refused.value.what
        assert f"self.{attribute} = " in refused.value.remedy

    def test_components_without_an_encoder_are_refused(self) -> None:
        with pytest.raises(UserError, match="has no encode") as refused:
            generator(SigmoidDecoder(), components=2)
        assert refused.value.remedy == "Set model.generator.network.components to null."

    def test_noise_that_is_not_positive_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"model\.generator\.network\.code_noise=0 is not positive"):
            generator(SigmoidDecoder(), code_noise=0)

    def test_missing_encoder_is_refused(self) -> None:
        with pytest.raises(
            UserError, match=r"has no encode, but model\.generator\.network\.encoder is null"
        ) as refused:
            generator(SigmoidDecoder(), encoder=None)
        assert "model/generator=own" in refused.value.remedy

    def test_classes_without_an_encoder_are_refused(self) -> None:
        class Reader(ClassDecoder):
            def encode(self, x: Tensor) -> Tensor:
                return x.flatten(1)[:, :4]

        with pytest.raises(UserError, match="takes a class, which is to be read in images"):
            generator(Reader(), encoder=None)
        assert generator(Reader()).code_encoder is None


def test_codes_of_training_images_of_one_class_each_are_labelled() -> None:
    """`LatentDensity.of` works on a generator with classes."""
    data = LabelledImages((255 * images()).byte(), torch.arange(30) % CLASSES)
    assert LatentDensity.of(generator(ClassDecoder()), data).medians.isfinite().all()
