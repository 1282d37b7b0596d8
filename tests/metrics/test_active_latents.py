"""Active latents by hand, and what a study says where there are none."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.active_latents import count_active_latents
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.studies.context import StudyContext

CPU = torch.device("cpu")
IMAGES = torch.tensor([0.0, 1.0]).repeat(8).reshape(16, 1, 1, 1)


class ThreeLatents(Generator):
    """Posterior means are the pixel times 1, 0.1 and 0, of variances 4/15 and less, with noise of variance 1."""

    latent_size = 3

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def encode(self, images: Tensor) -> Posterior:
        mean = self.scale * images.flatten(1) * torch.tensor([[1.0, 0.1, 0.0]])
        return Posterior(mean, torch.ones_like(mean))


def test_latents_below_a_hundredth_of_the_variance_are_not_active() -> None:
    assert count_active_latents(ThreeLatents(), IMAGES, CPU) == 1
    assert count_active_latents(ThreeLatents(3), IMAGES, CPU) == 2
    assert count_active_latents(ThreeLatents(0), IMAGES, CPU) == 0


@pytest.mark.parametrize(("scale", "end"), [(1.0, ""), (0.0, ": no claim, for the reason above")])
def test_no_claim_is_made_with_a_collapsed_posterior(
    scale: float, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = LabelledImages((255 * IMAGES).byte(), torch.arange(16) % 2)
    context = SimpleNamespace(generator=ThreeLatents(scale), splits=SimpleNamespace(validation=data), device=CPU)
    assert StudyContext.no_claim(cast(StudyContext, context)) == end
    assert ("0 of the generator's 3 latents depend on the image" in capsys.readouterr().out) == bool(end)
