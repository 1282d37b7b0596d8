"""What generator and judge must be able to do before an attack: measured on a case by hand, and the warnings."""

import pytest
import torch
from torch import Tensor, nn

from cam_adv.data.human_labels import NOTHING
from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.evaluator import Evaluator, Predictions
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.judge import Judge, Reading
from cam_adv.studies.attack.preconditions import Preconditions, PreconditionSettings

CPU = torch.device("cpu")
LEAST = PreconditionSettings(judge_read=0.8, reconstruction_read=0.6, active_latents=2)


class Negative(Generator):
    """Draws a blank image whose level is minus the first number of the code; latents have noise of variance 0.99.

    Args:
        means: of the posterior of the images, in their order.
    """

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.means = means

    def encode(self, images: Tensor) -> Posterior:
        assert len(images) == len(self.means)
        return Posterior(self.means, torch.full_like(self.means, 0.99**0.5))

    def decode(self, codes: Tensor) -> Tensor:
        return (-codes[:, :1]).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


class LevelJudge(Judge):
    """Reads the class 0 in a dark picture and 1 in a light one, and nothing in between."""

    def __init__(self) -> None:
        super().__init__({}, 0.1, 1, 1)  # at this level it needs 9 held-out images

    def read(self, images: Tensor, device: torch.device) -> Reading:
        level = images.float().flatten(1).mean(dim=1)
        reads = torch.where(level < 0.4, 0, torch.where(level > 0.6, 1, NOTHING))
        return Reading(torch.zeros(len(level), 1, 2), torch.zeros(len(level), 2), level, reads)


def measured(labels: list[int], judge_reads: list[int], codes: Tensor) -> Preconditions:
    """Of test images with these labels, in which the judge reads these classes, and which have these codes."""
    nowhere, count = torch.zeros(len(labels), 2), len(labels)
    predictions = Predictions(
        victim=nowhere,
        judge=nowhere,
        members=nowhere.unsqueeze(1),
        plausibility=torch.zeros(count),
        judge_reads=torch.tensor(judge_reads),
        f2=nowhere,
        codes=codes,
        cam=None,
        member_names=(),
    )
    test = LabelledImages(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))
    return Preconditions.measure(
        test, predictions, Evaluator(nn.Identity(), None, LevelJudge(), Negative(codes), CPU)
    )


def test_measure_by_hand() -> None:
    """It reads four of five images, three of them rightly; of the reconstructions two are read as their label.

    The reconstructions of images of level 0 have levels 0, 1, 0.5, 0 and 1: the sum of the squares is 2.25. Of three
    latents the second has a variance of 0.008 and the third none.
    """
    codes = torch.tensor([[0, 0.2, 7], [-1, 0, 7], [-0.5, 0, 7], [0, 0, 7], [-1, 0, 7]])
    assert measured([0, 1, 1, 1, 0], [0, 1, 1, NOTHING, 1], codes) == Preconditions(
        judge_accepts=0.8,
        judge_right=0.75,
        judge_read=0.6,
        reconstruction_read=0.4,
        reconstruction_rms=pytest.approx(0.45**0.5),  # type: ignore[arg-type]
        active_latents=1,
        held_out_images=0,
        least_held_out_images=9,
    )


@pytest.mark.parametrize(("scale", "active"), [(0.098, 0), (0.102, 1)])
def test_latent_is_active_from_a_variance_of_one_hundredth(scale: float, active: int) -> None:
    """The variance of 0, 1, 2 is 1, so that of the code is the square of its scale."""
    codes = scale * torch.tensor([[0.0], [1], [2]])
    assert measured([0, 0, 0], [0, 0, 0], codes).active_latents == active


def test_judge_that_reads_nothing_is_right_in_none() -> None:
    found = measured([0, 1], [NOTHING, NOTHING], torch.zeros(2, 1))
    assert (found.judge_accepts, found.judge_right, found.judge_read) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "below", "word"),
    [
        ("judge_read", 0.79, "model.judge.training.epochs"),
        ("reconstruction_read", 0.59, "This generator cannot carry this dataset"),
        ("active_latents", 1, "model.generator.training.kl_weight"),
        ("held_out_images", 38, "dataset.split.validation"),
    ],
)
def test_each_warning_appears_below_its_threshold_alone(name: str, below: float, word: str) -> None:
    """At the thresholds there is none."""
    met = {"judge_accepts": 0.0, "judge_right": 0.0, "judge_read": 0.8, "reconstruction_read": 0.6}
    met |= {"reconstruction_rms": 0.1, "active_latents": 2, "held_out_images": 39, "least_held_out_images": 39}
    assert Preconditions(**met).warnings(LEAST, latents=8) == []
    (warning,) = Preconditions(**(met | {name: below})).warnings(LEAST, latents=8)
    assert word in warning
    texts = {"active_latents": "1 of the generator's 8 latents", "held_out_images": "38 held-out images"}
    assert texts.get(name, f"{below:.0%}") in warning


def test_all_warnings_at_once() -> None:
    found = Preconditions(0, 0, 0, 0, 0, 0, 0, 39).warnings(LEAST, latents=8)
    assert len(set(found)) == len(found) == 4
    assert all(warning.endswith(".") for warning in found)
