"""Detectors: squeezers by hand and against SciPy, areas against scikit-learn, the rule, and what the stage leaves."""

from types import SimpleNamespace

import pytest
import torch
from conftest import compose
from scipy.ndimage import median_filter as scipy_median_filter
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from cam_adv.config import settings_from
from cam_adv.errors import UserError
from cam_adv.evaluation.intervals import Interval
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.kinds.detectors import CLEAN, RECONSTRUCTIONS, Detection, Sighting, detect, sight, suspicion
from cam_adv.kinds.feature_squeezing import median_filter, reduce_bit_depth, squeezing_distance
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.svae import SVAE
from cam_adv.report.detectors import sentence
from cam_adv.settings import KindsSettings


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Pixels(nn.Module):
    """Logits (0, w·first pixel): an answer that hangs on one pixel."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor:
        first = self.weight * images[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(first), first], dim=1)


class TestFeatureSqueezing:
    def test_bit_depth_by_hand(self) -> None:
        grays = torch.tensor([0.0, 0.1, 0.49, 0.51, 0.9, 1.0])
        assert reduce_bit_depth(grays, 1).tolist() == [0, 0, 0, 1, 1, 1]
        two_bits = reduce_bit_depth(grays, 2)
        torch.testing.assert_close(two_bits, torch.tensor([0, 0, 1, 2, 3, 3]) / 3)
        eight_bits = torch.arange(256) / 255
        torch.testing.assert_close(reduce_bit_depth(eight_bits, 8), eight_bits)

    def test_median_by_hand(self) -> None:
        image = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])[None, None]
        # Of each 2×2 window that ends at the pixel, the third of the four ordered values.
        expected = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.4, 0.5], [0.7, 0.7, 0.8]])
        assert torch.equal(median_filter(image, 2)[0, 0], expected)

    @pytest.mark.parametrize("window", [2, 3])
    def test_median_is_scipys(self, window: int) -> None:
        images = torch.rand(3, 2, 7, 6, generator=draws())
        expected = scipy_median_filter(images.numpy(), size=(1, 1, window, window), mode="reflect")
        assert torch.equal(median_filter(images, window), torch.from_numpy(expected))

    def test_distance_is_that_of_the_squeezer_that_moves_the_answer_most(self) -> None:
        image = torch.zeros(1, 1, 4, 4)
        image[0, 0, 0, 0] = 0.6
        # Of one bit the pixel becomes 1; its window of 2×2 holds it four times, so the median leaves it.
        probability = torch.tensor([0.6, 1.0]).mul(2).sigmoid()
        expected = 2 * (probability[1] - probability[0])
        torch.testing.assert_close(squeezing_distance(Pixels(2), image, 1, 2), expected[None])
        # Of 3×3 it holds zeros and the pixel four times: the median takes it away, which moves the answer more.
        expected = 2 * (probability[0] - 0.5)
        torch.testing.assert_close(squeezing_distance(Pixels(2), image, 1, 3), expected[None])

    def test_an_image_that_squeezing_leaves_alone_has_no_distance(self) -> None:
        image = torch.zeros(1, 1, 6, 6)
        image[:, :, :, 3:] = 1
        assert squeezing_distance(Pixels(5), image, 1, 2).item() == 0


@pytest.mark.parametrize(
    ("type1", "type2", "answer"),
    [
        ((0.3, 0.6), (0.8, 0.9), "does not see"),
        ((0.5, 0.74), (0.74, 0.9), "undecided"),  # not below the interval for Type II
        ((0.5, 0.75), (0.8, 0.9), "undecided"),  # reaches the line
        ((0.6, 0.9), (0.95, 1.0), "undecided"),
        ((0.75, 0.9), (0.95, 1.0), "sees"),
        ((0.3, 0.6), (0.4, 0.5), "sees neither"),
        ((0.3, 0.6), (0.4, 0.75), "undecided"),
    ],
)
def test_rule(type1: tuple[float, float], type2: tuple[float, float], answer: str) -> None:
    assert sight(*(Interval(sum(ends) / 2, *ends) for ends in (type1, type2)), seen_from=0.75) == answer


@pytest.fixture(scope="module")
def plan() -> KindsSettings:
    """As shipped, with fewer resamples."""
    return settings_from(compose(["experiment=roc", "kinds.resamples=50"])).kinds


@pytest.fixture(scope="module")
def witnesses() -> Witnesses:
    """A victim, a generator and nobody else, with random weights."""
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    generator = SVAE(1, 3, (8, 8), latent_size=4, width=4, hidden=8)
    return Witnesses(victim, None, Ensemble({"judge": victim}), generator, torch.device("cpu"))


@pytest.fixture(scope="module")
def detection(plan: KindsSettings, witnesses: Witnesses) -> Detection:
    """Of noise: type1 succeeds on the first 9 of 12 images, type2_latent on one, pgd on the last 8."""
    succeeded = {
        "type1": torch.arange(12) < 9,
        "type2_latent": torch.arange(12) == 3,
        "pgd": torch.arange(12) >= 4,
    }
    x, *attacked = torch.rand(4, 12, 1, 8, 8, generator=draws(1))
    z0 = witnesses.generator.encode(x).mean.detach()
    assessments = {
        name: SimpleNamespace(
            result=SimpleNamespace(x=x, x_adv=x_adv, z0=z0),
            verdict=SimpleNamespace(success=succeeded[name]),
        )
        for name, x_adv in zip(succeeded, attacked, strict=True)
    }
    return detect(assessments, witnesses, plan, seed=0)


class TestDetection:
    def test_scores_are_what_they_say(self, witnesses: Witnesses, plan: KindsSettings) -> None:
        images = torch.rand(5, 1, 8, 8, generator=draws(2))
        found = suspicion(images, witnesses, plan.detectors)
        generator = witnesses.generator
        with torch.no_grad():
            mean = generator.encode(images).mean
            away = (generator.generate(mean) - images).square().sum(dim=(1, 2, 3)).sqrt()
            torch.testing.assert_close(found["reconstruction error"], away)
            on_manifold = generator.discriminator(mean).squeeze(1)
            assert found["latent discriminator"].argsort().tolist() == on_manifold.argsort(descending=True).tolist()
            probs = witnesses.victim(images).softmax(dim=1)
            torch.testing.assert_close(found["victim's doubt"].float(), 1 - probs.amax(dim=1))
            squeezed = [(images > 0.5).float(), median_filter(images, 2)]
            moved = [(witnesses.victim(one).softmax(dim=1) - probs).abs().sum(dim=1) for one in squeezed]
            torch.testing.assert_close(found["feature squeezing"], torch.maximum(*moved))

    def test_areas_are_of_successes_and_of_the_same_images(self, detection: Detection) -> None:
        compared = {(one.suspects, one.others): one for one in detection.comparisons}
        rows = {
            ("type1", CLEAN): slice(0, 9),
            ("type1", RECONSTRUCTIONS): slice(0, 9),
            ("pgd", CLEAN): slice(4, 12),
            (RECONSTRUCTIONS, CLEAN): slice(0, 12),
        }
        for names, chosen in rows.items():
            for detector, area in compared.pop(names).areas.items():
                sides = [detection.scores[name][detector][chosen] for name in names]
                truth = [1] * len(sides[0]) + [0] * len(sides[1])
                assert area.estimate == pytest.approx(roc_auc_score(truth, torch.cat(sides)))
                assert area.low <= area.estimate <= area.high
        assert set(compared) == {("type2_latent", CLEAN), ("type2_latent", RECONSTRUCTIONS)}
        assert all((one.images, one.areas) == (1, None) for one in compared.values())

    def test_sightings_hold_type1_against_pgd(self, detection: Detection, plan: KindsSettings) -> None:
        areas = {(one.suspects, one.others): one.areas for one in detection.comparisons}
        assert [one.detector for one in detection.sightings] == list(detection.scores[CLEAN])
        for one in detection.sightings:
            assert (one.attack, one.beside) == ("type1", "pgd")
            assert one.area == areas["type1", CLEAN][one.detector]
            assert one.area_beside == areas["pgd", CLEAN][one.detector]
            assert one.area_drawn == areas["type1", RECONSTRUCTIONS][one.detector]
            assert one.answer == sight(one.area, one.area_beside, plan.detectors.seen_from)


def test_sentence_says_who_is_fooled() -> None:
    low, high, middle = Interval(0.3, 0.2, 0.4), Interval(0.95, 0.9, 1.0), Interval(0.6, 0.5, 0.7)
    fooled = Sighting("squeezing", "type1", "pgd", "does not see", low, high, middle)
    assert sentence(fooled) == (
        "squeezing does not see type1, and takes type1 for less suspicious than clean images: "
        "AUC 0.30 (0.20 to 0.40), beside 0.95 (0.90 to 1.00) for pgd; against reconstructions 0.60 (0.50 to 0.70)."
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("kinds.detectors.bits=0", "kinds.detectors.bits=0"),
        ("kinds.detectors.window=4", "kinds.detectors.window=4"),
        ("kinds.detectors.seen_from=1", "kinds.detectors.seen_from=1"),
        ("kinds.perturbed_pixels.region=0", "kinds.perturbed_pixels.region=0"),
        ("kinds.perturbed_pixels.marked=1", "kinds.perturbed_pixels.marked=1"),
    ],
)
def test_wrong_values_are_refused(override: str, told: str) -> None:
    with pytest.raises(UserError) as refusal:
        settings_from(compose(["experiment=roc", override]))
    assert told in refusal.value.what
