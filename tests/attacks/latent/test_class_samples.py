"""Samples of a class: what is drawn, what is kept, and what is said where nothing can be kept."""

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.class_samples import ATTEMPTS, sample_classes
from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator, Posterior

NAMES = ("dark", "light", "never")


class Level(Generator):
    """Draws the first number of the code as a gray level, and reads "dark" below 0.5, else "light"."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_size = 2
        self.decoded: list[int] = []
        self.classifier = nn.Identity()

    def encode(self, images: Tensor) -> Posterior:
        level = images.flatten(1).mean(dim=1, keepdim=True)
        return Posterior(torch.cat([0.5 - level, level - 0.5, torch.full_like(level, -9)], dim=1), level)

    def decode(self, codes: Tensor) -> Tensor:
        self.decoded.append(len(codes))
        return codes[:, :1].clamp(0, 1).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 3)


def density(*means: float, std: float = 0.2) -> LatentDensity:
    """Classes whose codes have these means and this standard deviation in each direction."""
    draws = std * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    codes = torch.cat([draws + mean for mean in means])
    return LatentDensity(codes, torch.arange(len(means)).repeat_interleave(len(draws))).float()


def test_every_sample_is_read_as_its_class() -> None:
    """A third of the codes of both classes is on the other side, and drawn again."""
    generator, labels = Level(), torch.arange(2).repeat(200)
    samples = sample_classes(generator, density(0.4, 0.6), labels, NAMES, seed=3)
    assert (samples.images.dtype, samples.images.shape) == (torch.uint8, (400, 1, 2, 3))
    assert torch.equal(samples.labels, labels)
    assert torch.equal((samples.images[:, 0, 0, 0] > 127).long(), labels)
    first, second, *_ = [count for count in generator.decoded if count > 1]  # a single one tells the size of images
    assert first == 400
    assert 80 < second < 170  # 0.31 of 400 are on the other side
    assert len(samples.images[:, 0, 0, 0].unique()) > 60


def test_codes_that_are_read_rightly_stay_as_drawn() -> None:
    """The first draw of a class far from the border is G(z), rounded to 8 bits."""
    given = density(0.2, 0.8, std=0.02)
    labels = torch.tensor([1, 0, 0, 1])
    codes = given.sample(labels, torch.Generator().manual_seed(5))
    images = sample_classes(Level(), given, labels, NAMES, seed=5).images
    assert images[:, 0, 0, 0].tolist() == (255 * codes[:, 0]).round().tolist()


def test_sample_depends_on_its_row_and_the_seed_not_on_the_class_of_others() -> None:
    given = density(0.4, 0.6)
    labels = torch.arange(2).repeat(20)
    images = sample_classes(Level(), given, labels, NAMES, seed=1).images
    other = torch.where(torch.arange(40) % 4 < 2, labels, 1 - labels)
    again = sample_classes(Level(), given, other, NAMES, seed=1).images
    same = other == labels
    assert torch.equal(images[same], again[same])
    assert not torch.equal(images, sample_classes(Level(), given, labels, NAMES, seed=2).images)


def test_class_conditional_generator_draws_the_class_of_each_row() -> None:
    """Its codes have the class as their second number, which is all that it draws."""

    class Conditional(Level):
        def with_class(self, codes: Tensor, labels: Tensor) -> Tensor:
            return torch.stack([codes[:, 0], labels.to(codes)], dim=1)

        def decode(self, codes: Tensor) -> Tensor:
            return super().decode(0.25 + 0.5 * codes[:, 1:])

    labels = torch.tensor([1, 0, 1])
    generator = Conditional()
    images = sample_classes(generator, density(0.9, 0.1), labels, NAMES, seed=0).images
    assert images[:, 0, 0, 0].tolist() == [191, 64, 191]
    assert generator.decoded == [3]


def test_class_that_is_never_read_is_refused_in_words() -> None:
    generator = Level()
    with pytest.raises(UserError) as refused:
        sample_classes(generator, density(0.4, 0.6, 0.5), torch.tensor([0, 2, 1, 2]), NAMES, seed=0)
    assert refused.value.what == (
        f"f2 reads class never in none of {ATTEMPTS} pictures that the generator draws from codes of this class."
    )
    assert "model.generator.training" in refused.value.remedy
    assert len(generator.decoded) == ATTEMPTS
    assert generator.decoded[-1] == 2
