"""Checks of generators: each refusal, and that its remedy helps."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.generator_checks import check_generator
from cam_adv.models.generators.base import Posterior
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.generators.strided_encoder import StridedEncoder
from cam_adv.models.generators.svae import SVAE

IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = 3


class Decoder(nn.Module):
    """A valid decoder of four numbers with changes to what it gets and what it returns."""

    code_shape = (4,)

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = lambda z: z,
        after: Callable[[Tensor], Tensor] = lambda images: images,
        pixel_range: tuple[float, float] = (0, 1),
        channels: int = 1,
        size: int = 8,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Linear(4, channels * size * size), nn.Unflatten(1, (channels, size, size)))
        self.before, self.after, self.pixel_range = before, after, pixel_range

    def decode(self, z: Tensor) -> Tensor:
        return self.after((3 * self.layer(self.before(z))).sigmoid())


class Autoencoder(Decoder):
    """The same with an encoder, and changes to what that returns."""

    def __init__(self, encoded: Callable[[Tensor], Any] = lambda codes: codes) -> None:
        super().__init__()
        self.encoded = encoded

    def encode(self, x: Tensor) -> Any:
        return self.encoded(x.flatten(1)[:, :4])


class ClassDecoder(Decoder):
    """The same with classes."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.shift = nn.Embedding(classes, 4)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert y is not None
        return super().decode(z + self.shift(y))


class PriorDecoder(Decoder):
    """The same with a prior."""

    def __init__(self, prior: Callable[..., Any]) -> None:
        super().__init__()
        self.prior = prior


class PriorAutoencoder(Autoencoder):
    """The same with an encoder, so that its prior is not needed for codes."""

    def __init__(self, prior: Callable[..., Any]) -> None:
        super().__init__()
        self.prior = prior


class ColourAutoencoder(Autoencoder):
    """Reads colour images alone."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(3, 1, 1)

    def encode(self, x: Tensor) -> Any:
        return super().encode(self.read(x))


def uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, 4, generator=generator)


def without_gradient(images: Tensor) -> Tensor:
    with torch.no_grad():
        return images.clone()


def normalised(images: Tensor) -> Tensor:
    return nn.functional.batch_norm(images, None, None, training=True).sigmoid()


def fails_alone(images: Tensor) -> Tensor:
    if len(images) == 1:
        raise ValueError("Expected more than 1 value per channel when training")
    return images


def check(decoder: nn.Module) -> None:
    generator = PretrainedGenerator(
        decoder, 1, CLASSES, (8, 8), encoder=partial(StridedEncoder, width=2, hidden=4)
    ).eval()
    check_generator(generator, IMAGES, CLASSES, "mine.Decoder")


REFUSED = {
    "another size": (
        Decoder(size=16),
        Decoder(size=16, after=lambda x: nn.functional.avg_pool2d(x, 2)),
        r"draws \(8, 1, 16, 16\) for 8 codes, but the images of the dataset are \(8, 1, 8, 8\)",
        r"dataset.size=16 .*\(image_folder, torchvision, hugging_face\)",
    ),
    "colour": (
        Decoder(channels=3),
        Decoder(channels=3, after=lambda x: x.mean(dim=1, keepdim=True)),
        r"draws \(8, 3, 8, 8\)",
        r"dataset.gray=false .*\(image_folder, torchvision, hugging_face\), or convert it",
    ),
    "flat images": (
        Decoder(after=lambda x: x.flatten(1)),
        Decoder(),
        r"draws \(8, 64\)",
        r"Make it return \(8, 1, 8, 8\)",
    ),
    "pixels in [-1, 1]": (
        Decoder(after=lambda x: 2 * x - 1),
        Decoder(after=lambda x: 2 * x - 1, pixel_range=(-1, 1)),
        r"draws pixels from -0\.\d+ to .*, but declares them in \(0, 1\)",
        r"pixel_range to \(-1, 1\)",
    ),
    "pixels to 255": (
        Decoder(after=lambda x: 255 * x),
        Decoder(after=lambda x: 255 * x, pixel_range=(0, 255)),
        r"draws pixels from .* to 2\d\d",
        r"pixel_range to \(0, 255\)",
    ),
    "pixels without limits": (
        Decoder(after=lambda x: 9e3 * x - 5e3),
        Decoder(after=lambda x: (9e3 * x - 5e3).sigmoid() + 0 * x),
        r"draws pixels from -",
        "or clamp what its decode returns",
    ),
    "only the upper half of [-1, 1]": (
        Decoder(pixel_range=(-1, 1)),
        Decoder(),
        r"declares pixels in \(-1, 1\), but draws none below 0",
        r"pixel_range to \(0, 1\)",
    ),
    "no_grad": (Decoder(after=without_gradient), Decoder(), "decode has no gradient", "torch.no_grad"),
    "detach": (Decoder(before=Tensor.detach), Decoder(), "decode has no gradient", "detach"),
    "rounding": (Decoder(before=torch.round), Decoder(), "decode has no gradient", "rounding"),
    "noise": (
        Decoder(after=lambda x: x + 0.1 * torch.randn_like(x)),
        Decoder(),
        r"decode draws the same differently each time",
        "noise in evaluation mode",
    ),
    "batch norm in training": (
        Decoder(after=normalised),
        Decoder(after=lambda x: x.sub(0.5).sigmoid()),
        "draws one differently alone and among 8",
        "running statistics",
    ),
    "squeeze": (Decoder(after=lambda x: x.squeeze(0)), Decoder(), "draws one differently alone", "squeeze nothing"),
    "fails alone": (
        Decoder(after=fails_alone),
        Decoder(),
        r"decode fails on a batch of 1 codes of 4 numbers: ValueError: Expected",
        "any size, 1 included",
    ),
    "another code shape": (
        Decoder(before=lambda z: z[:, :3]),
        Decoder(),
        "decode fails on a batch of 8 codes of 4 numbers: RuntimeError",
        "any size",
    ),
    "NaN": (Decoder(after=lambda x: x / 0), Decoder(), "decode returns NaN or infinity", "Correct its weights"),
    "no tensor": (Decoder(after=lambda x: (x,)), Decoder(), "returns a tuple", "Return a tensor"),
    "encode of another shape": (
        Autoencoder(lambda codes: codes[:, :3]),
        Autoencoder(),
        "encode returns 3 numbers for an image, but a code has 4",
        r"\(N, \*code_shape\)",
    ),
    "encode that fails": (
        Autoencoder(lambda codes: codes.missing),
        Autoencoder(),
        "encode fails on a batch of 8 images 1×8×8: Attr",
        "any size",
    ),
    "encode of NaN": (
        Autoencoder(lambda codes: codes / 0),
        Autoencoder(),
        "encode returns NaN or infinity",
        "Correct",
    ),
    "encode with a draw": (
        Autoencoder(lambda codes: codes + torch.randn_like(codes)),
        Autoencoder(),
        "encode encodes the same differently",
        "noise in evaluation mode",
    ),
    "encode of a colour image": (
        ColourAutoencoder(),
        Autoencoder(),
        "encode reads images of 3 channels, but those of the dataset have 1",
        r"dataset.gray=false .*\(image_folder, torchvision, hugging_face\)",
    ),
    "encode of a tuple": (
        Autoencoder(lambda codes: (codes, codes)),
        Autoencoder(lambda codes: Posterior(codes, codes.exp())),
        r"encode returns a tuple\.$",
        "mean and std, such as Posterior",
    ),
    "encode of a distribution": (
        Autoencoder(lambda codes: torch.distributions.Normal(codes, codes.exp())),
        Autoencoder(),
        r"encode returns a Normal\.$",
        "mean and std, such as Posterior",
    ),
    "prior of more numbers": (
        PriorDecoder(lambda count, generator: torch.rand(count, 7, generator=generator)),
        PriorDecoder(uniform),
        r"prior returns \(8, 7\) for 8 codes",
        r"return float32 codes \(count, 4\)",
    ),
    "prior beside encode": (
        PriorAutoencoder(lambda count, generator: torch.rand(count, 7, generator=generator)),
        PriorAutoencoder(uniform),
        r"prior returns \(8, 7\) for 8 codes",
        r"return float32 codes \(count, 4\)",
    ),
    "prior with another signature": (
        PriorDecoder(lambda count: torch.rand(count, 4)),
        PriorDecoder(uniform),
        r"prior fails for 8 codes: TypeError: .* takes 1 positional argument",
        r"prior\(count, generator\)",
    ),
    "prior without its generator": (
        PriorDecoder(lambda count, generator: torch.rand(count, 4)),
        PriorDecoder(uniform),
        "prior draws other codes from a generator with the same seed",
        "generator=generator",
    ),
    "prior of NaN": (
        PriorDecoder(lambda count, generator: uniform(count, generator) / 0),
        PriorDecoder(uniform),
        "prior returns NaN or infinity",
        "Correct",
    ),
    "prior of no tensor": (
        PriorDecoder(lambda count, generator: uniform(count, generator).tolist()),
        PriorDecoder(uniform),
        r"prior returns a list\.$",
        "float32 codes",
    ),
    "prior of whole numbers": (
        PriorDecoder(lambda count, generator: uniform(count, generator).long()),
        PriorDecoder(uniform),
        r"prior returns torch\.int64\.$",
        "float32 codes",
    ),
    "too few classes": (
        ClassDecoder(CLASSES - 1),
        ClassDecoder(CLASSES + 2),
        "decode fails for class 2, but not for class 0: IndexError",
        "Give a decoder of the 3 classes",
    ),
    "encode with log variances": (
        Autoencoder(lambda codes: Posterior(codes, -codes)),
        Autoencoder(lambda codes: Posterior(codes, codes.exp())),
        "encode returns a std that is not positive",
        "log_variance",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_decoder_is_refused_and_the_remedy_helps(name: str) -> None:
    decoder, corrected, what, remedy = REFUSED[name]
    with pytest.raises(UserError) as refusal:
        check(decoder)
    assert refusal.value.what.startswith("model.generator.network.decoder (test_generator_checks.")
    assert re.search(what, refusal.value.what)
    assert re.search(remedy, refusal.value.remedy)
    assert all(text.endswith(".") for text in (refusal.value.what, refusal.value.remedy))
    check(corrected)


@pytest.mark.parametrize(
    "decoder",
    [
        Decoder(),
        ClassDecoder(),
        Autoencoder(),
        Decoder(after=lambda x: 1.3 * x - 0.2),
        Decoder(after=lambda x: 2.6 * x - 1.4, pixel_range=(-1, 1)),
        Decoder(after=lambda x: x + 0 * torch.randn_like(x)),
        PriorDecoder(lambda count, generator: uniform(count, generator).unflatten(1, (2, 2)).flatten(1)),
    ],
    ids=["plain", "classes", "encodes", "overshoots", "overshoots in [-1, 1]", "draws in vain", "prior"],
)
def test_valid_decoder_is_accepted_without_a_random_draw(decoder: nn.Module) -> None:
    torch.manual_seed(3)
    generator = PretrainedGenerator(decoder, 1, CLASSES, (8, 8), encoder=partial(StridedEncoder, width=2, hidden=4))
    state = torch.get_rng_state()
    check_generator(generator.eval(), IMAGES, CLASSES, "mine.Decoder")
    assert torch.equal(torch.get_rng_state(), state)


class Changed(SVAE):
    """The shipped generator with changes to a part."""

    def __init__(self, **changes: Callable[..., Any]) -> None:
        torch.manual_seed(0)
        super().__init__(1, CLASSES, (8, 8), latent_size=4, width=2, hidden=8)
        self.changes = changes

    def encode(self, images: Tensor) -> Posterior:
        return self.changes.get("encode", lambda posterior: posterior)(super().encode(images))

    def decode(self, codes: Tensor) -> Tensor:
        return self.changes.get("decode", lambda drawn: drawn)(super().decode(codes))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"decode": lambda x: 2 * x - 1.5}, r"mine\.SVAE\.decode draws pixels from -0\.\d+ to"),
        ({"decode": lambda x: x[:, :, 1:]}, r"mine\.SVAE\.decode draws \(8, 1, 7, 8\)"),
        ({"decode": lambda x: x.detach()}, r"mine\.SVAE\.decode has no gradient"),
        ({"encode": lambda q: Posterior(q.mean[:, 1:], q.std)}, r"mine\.SVAE\.encode returns 3 numbers"),
        ({"encode": lambda q: q.mean}, r"mine\.SVAE\.encode returns a builtin"),
    ],
)
def test_generator_of_this_package_is_checked_too(changes: dict[str, Callable[..., Any]], what: str) -> None:
    check_generator(Changed().eval(), IMAGES, CLASSES, "mine.SVAE")
    with pytest.raises(UserError, match=what):
        check_generator(Changed(**changes).eval(), IMAGES, CLASSES, "mine.SVAE")


def without_last_class() -> ClassDecoder:
    decoder = ClassDecoder(26)
    decoder.shift.weight.data[25] = torch.nan
    return decoder


@pytest.mark.parametrize(
    ("decoder", "what"),
    [
        (ClassDecoder(10), "decode fails for class 25, but not for class 0: IndexError"),
        (without_last_class(), "decode returns NaN"),
    ],
    ids=["ten classes", "NaN for the last"],
)
def test_last_classes_are_tried_where_there_are_more_than_images(decoder: nn.Module, what: str) -> None:
    generator = PretrainedGenerator(decoder, 1, 26, (8, 8), encoder=partial(StridedEncoder, width=2, hidden=4)).eval()
    with pytest.raises(UserError, match=what):
        check_generator(generator, IMAGES, 26, "mine.Decoder")


def test_heads_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"of shapes \(8, 1, 8, 8\), \(8, 3\), \(8, 1\)") as refusal:
        check_generator(Changed().eval(), IMAGES, 5, "mine.SVAE")
    assert refusal.value.remedy == "Make them (8, 1, 8, 8), (8, 5), (8, 1)."
