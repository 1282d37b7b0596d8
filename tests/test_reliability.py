"""The question of reliability: controls and claims with known answers, and a tiny study through the command line."""

import csv
import html
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Answer, called, compose, killed
from hydra.utils import instantiate
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from cam_adv.attack.held_map import HeldMap
from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.latent_walk import score
from cam_adv.attack.objective import Terms
from cam_adv.config import settings_from
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.explanation.class_maps import cam, contrast_cam
from cam_adv.explanation.gauge import regauged, reversing_vector
from cam_adv.explanation.subject import Subject
from cam_adv.networks.svae import SVAE
from cam_adv.networks.victims import GapCNN
from cam_adv.reliability import controls
from cam_adv.reliability.claims import Claims, ranking
from cam_adv.reliability.concealment import SWAPS, TOLD, certainty, match, swap_test, tell_apart
from cam_adv.reliability.design import design
from cam_adv.reliability.detector import areas, auc_parts, folds, held_out_scores
from cam_adv.reliability.faithfulness import advantages
from cam_adv.reliability.finding import FEWEST, NOTHING_MEASURED, Estimate, Finding, answer, corrected, worst
from cam_adv.reliability.instability import change
from cam_adv.reliability.maps import mean_map, random_map
from cam_adv.reliability.observation import Observation, load_observations, save_observations
from cam_adv.reliability.trajectory import Trajectory
from cam_adv.report.controls import changes_figure, mean_changes
from cam_adv.report.trajectory import aligned, explanations_figure, trajectories_figure
from cam_adv.settings import Settings, Weights
from cam_adv.stages.reliability import stronger

CPU = torch.device("cpu")
STUDY = ["experiment=cam_reliability", "reliability.victims=[0,1]", "reliability.images=6"]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MATCHED = ("real_pair", "latent_walk", "pixel_noise")


class Echo(nn.Module):
    """A generator whose pictures are its codes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def generate(self, codes: torch.Tensor) -> torch.Tensor:
        return codes


def attacked(x: torch.Tensor, x_adv: torch.Tensor, **changes) -> controls.Attacked:
    """One attack, every image of class 0 and its own only real match."""
    count = len(x)
    numbers, zeros, codes = torch.arange(count), torch.zeros(count, dtype=torch.long), torch.zeros(count, 2)
    real = LabelledImages(x, zeros)
    made = controls.Attacked(
        numbers, zeros, zeros + 1, x, x_adv, codes, codes + 1, x_adv, Echo(), real, numbers, seed=0
    )
    return replace(made, **changes)


class TestControls:
    x = torch.rand(6, 1, 8, 8, generator=draws(1)).mul(1.4).sub(0.2).clamp(0, 1)  # some pixels at the ends
    distance = torch.tensor([0.01, 0.5, 1.0, 2.0, 3.0, 0.0])

    def far(self, distance: torch.Tensor) -> controls.Attacked:
        """An attack whose pictures are that far from x."""
        away = torch.zeros_like(self.x)
        away[:, 0, 0, 0] = distance
        return attacked(self.x, self.x + away)

    def test_noise_is_as_far_as_the_attack_after_clipping(self) -> None:
        noisy = controls.pixel_noise(self.far(self.distance))
        assert torch.allclose((noisy - self.x).flatten(1).norm(dim=1), self.distance, atol=1e-5)
        assert noisy.min() >= 0
        assert noisy.max() <= 1

    def test_noise_goes_as_far_as_it_can(self) -> None:
        noisy = controls.pixel_noise(self.far(torch.full((6,), 100.0)))
        assert (((noisy == 0) | (noisy == 1)).float().mean(dim=(1, 2, 3)) == 1).all()

    def test_latent_walk_is_as_long_as_the_attack(self) -> None:
        z0, length = torch.randn(6, 5, generator=draws()), torch.arange(6.0)
        one = attacked(self.x, self.x, z0=z0, z=z0 + length[:, None] * torch.eye(5)[2])
        walked = controls.latent_walk(one)
        assert torch.allclose((walked - z0).norm(dim=1), length, atol=1e-5)
        assert not torch.allclose(walked[1:], one.z[1:], atol=0.1)
        assert torch.equal(walked, controls.latent_walk(one))

    def test_reconstruction(self) -> None:
        generator = SVAE(1, 3, (8, 8), 4, width=2, hidden=8).eval()
        expected = generator.generate(generator.encode(self.x).mean)
        found = controls.reconstruction(attacked(self.x, self.x, generator=generator))
        assert torch.allclose(found, expected, atol=1e-6)

    def test_nothing_to_see_and_the_walk_without_the_victim(self) -> None:
        one = attacked(self.x, self.x, transition=1 - self.x)
        assert torch.equal(controls.blank_image(one), torch.zeros_like(self.x))
        assert torch.equal(controls.transition(one), 1 - self.x)

    def test_real_images_are_of_the_class_and_nearest_in_distance(self) -> None:
        """One pixel: real ones at 0, 0.1, …, 0.9, even ones of class 0; x is image 0, of class 0."""
        pixels = torch.arange(10).reshape(10, 1, 1, 1) / 10
        x = pixels[[0, 0, 0]]
        one = attacked(
            x,
            x + torch.tensor([0.05, 0.58, 0.22]).reshape(3, 1, 1, 1),
            index=torch.zeros(3, dtype=torch.long),
            real=LabelledImages(pixels, torch.arange(10) % 2),
            real_index=torch.arange(10),
        )
        assert controls.real_pair(one).flatten().tolist() == pytest.approx([0.2, 0.6, 0.2])  # never x itself
        assert controls.real_target(one).flatten().tolist() == pytest.approx([0.1, 0.5, 0.3])

    def test_a_class_without_real_images_is_refused(self) -> None:
        with pytest.raises(UserError, match="no other test image of class 0"):
            controls.real_pair(attacked(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)))

    @pytest.mark.parametrize("name", sorted(compose(STUDY).reliability.controls))
    def test_configs_name_what_they_make_and_which_are_matched(self, name: str) -> None:
        control = settings_from(compose(STUDY)).reliability.controls[name]
        assert (control.name, control.matched) == (name, name in MATCHED)
        assert instantiate(control.picture).func is getattr(controls, name)

    def test_a_walk_without_the_victim(self, settings: Settings) -> None:
        attack = controls.without_victim(settings.attack)
        assert (attack.multiplier["start"], attack.multiplier["cap"]) == (0, 0)
        assert (attack.starts, attack.keep_best) == (["mean"], False)
        assert attack.weights == settings.attack.weights

    def test_the_stronger_attack_asks_for_more(self, settings: Settings) -> None:
        attack = stronger(settings.attack, 0.99)
        assert (attack.confidence, attack.multiplier["confidence"]) == (0.99, 0.99)
        published = settings_from(compose(["attack=tang2018"])).attack
        assert stronger(published, 0.99).multiplier == published.multiplier


class TestMapsOfNoPicture:
    maps = torch.arange(16.0).reshape(4, 2, 2)

    def test_the_mean_map_leaves_its_own_image_out(self) -> None:
        image = torch.tensor([7, 7, 3, 5])  # the first two rows are one image with two targets
        found = mean_map(self.maps, image)
        assert torch.equal(found[0], (self.maps[2] + self.maps[3]) / 2)
        assert torch.equal(found[0], found[1])
        assert torch.allclose(found[2], (self.maps[0] + self.maps[1] + self.maps[3]) / 3)
        assert torch.equal(mean_map(self.maps, torch.zeros(4, dtype=torch.long)), torch.zeros(4, 2, 2))

    def test_a_random_map_has_the_same_values_elsewhere(self) -> None:
        many = self.maps.repeat(50, 1, 1)
        found = random_map(many, draws())
        assert torch.equal(found.flatten(1).sort(dim=1).values, many.flatten(1))
        stayed = (found == many).double().mean()
        assert 0.15 < stayed < 0.35  # one of four places, by chance


class TestTrajectories:
    """Pictures with known ways, and their curves on a common axis."""

    @staticmethod
    def one(way: list[float], changes: list[float], crossing: float | None) -> Trajectory:
        count = len(way)
        return Trajectory(
            x=torch.zeros(1, 4, 4),
            y=7,
            target=0,
            images=torch.rand(count, 1, 4, 4, generator=draws()),
            captions=[f"step {number}" for number in range(count)],
            way=torch.tensor(way),
            crossing=crossing,
            victim=torch.full((count,), 0.9),
            judge=torch.full((count,), 0.8),
            maps={"cam": torch.rand(1 + count, 2, 2, generator=draws())},
            changes={"cam": torch.tensor(changes)},
        )

    def test_are_read_off_between_their_moments(self) -> None:
        walk = self.one([0.0, 2.0, 4.0], [0.0, 1.0, 0.0], 2.0)
        read = aligned(walk, "cam", 2.0, np.array([-3.0, -2, -1, 0, 2, 3]))
        assert read[1:5].tolist() == pytest.approx([0, 0.5, 1, 0])
        assert np.isnan(read[[0, 5]]).all()

    def test_curves_begin_at_the_crossing_on_the_right(self) -> None:
        walks = [
            self.one([0.0, 2.0], [0.0, 1.0], 1.0),
            self.one([0.0, 4.0], [0.0, 1.0], 3.0),
            self.one([0.0, 1.0], [0.0, 0.0], None),
        ]
        left, right = trajectories_figure(walks).axes
        (curve,) = [line for line in right.lines if line.get_label() == "cam"]
        places, medians = curve.get_xdata(), curve.get_ydata()
        assert places.min() == pytest.approx(-3, abs=0.1)
        assert np.interp(0, places, medians) == pytest.approx((0.5 + 0.75) / 2, abs=0.02)
        assert left.lines[0].get_xdata().max() < 2.1  # of three pictures at least half must come so far

    def test_strip_has_a_row_for_each_explanation(self) -> None:
        walk = self.one([0.0, 1.0, 2.0], [0.0, 1.0, 1.0], None)
        figure = explanations_figure(walk, [str(digit) for digit in range(10)])
        assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["cam"]
        assert figure.axes[1].get_title() == "step 0\n7: 0.900"
        assert "From 7 to 0" in figure.get_suptitle()


def test_changes_stand_beside_the_controls() -> None:
    def seen(attack: float, control: float) -> dict[str, Observation]:
        rows = {"victim": torch.zeros(2), "change attack": torch.full((2,), attack)}
        return {"cam": Observation(rows | {"change blank_image": torch.tensor([control, control + 0.2])}, {})}

    changes = mean_changes([seen(0.5, 0.1), seen(0.7, 0.3)])
    assert list(changes) == ["attack", "blank_image"]
    assert changes["attack"]["cam"] == pytest.approx(0.6)
    assert changes["blank_image"]["cam"] == pytest.approx(0.3)
    written = [text.get_text() for text in changes_figure(changes).axes[0].texts]
    assert written == ["0.60", "0.30"]


class TestDesign:
    labels = torch.arange(40) % 4

    def test_every_image_gets_different_other_classes(self) -> None:
        selection = design(self.labels, self.labels != 3, 4, images=12, targets=2, source=None, seed=0)
        assert len(selection) == 24
        assert (selection.index[::2] == selection.index[1::2]).all()
        assert len(selection.index.unique()) == 12
        assert (selection.target[::2] != selection.target[1::2]).all()
        assert (selection.target != selection.y).all()
        assert torch.equal(self.labels[selection.index], selection.y)
        assert 3 not in selection.y
        assert set(selection.target.tolist()) == {0, 1, 2, 3}

    def test_too_few_images_are_refused(self) -> None:
        with pytest.raises(UserError, match="only 10 test images"):
            design(self.labels, self.labels == 1, 4, images=11, targets=1, source=None, seed=0)


class TestChange:
    def test_known_answers(self) -> None:
        """Itself, twice itself plus a constant, its reverse, and flat maps."""
        one = torch.arange(4.0).reshape(1, 2, 2)
        before = torch.cat([one, one, one, one, torch.ones(1, 2, 2), torch.zeros(1, 2, 2)])
        after = torch.cat([one, 2 * one + 7, -one, torch.zeros(1, 2, 2), one, torch.ones(1, 2, 2)])
        assert change(before, after).tolist() == pytest.approx([0, 0, 2, 1, 1, 0], abs=1e-6)


def estimate(effect: float, low: float, high: float, p: float, images: int = 50) -> Estimate:
    return Estimate(effect, low, high, p, 1.0, images, images)


class TestRule:
    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            (estimate(0.3, 0.2, 0.4, 0.001), "yes"),
            (estimate(0.3, 0.2, 0.4, 0.06), "undecided"),  # the test does not reject
            (estimate(0.3, 0.04, 0.6, 0.001), "undecided"),  # perhaps too small to matter
            (estimate(0.01, 0.005, 0.02, 0.001), "no"),  # there, but too small to matter
            (estimate(-0.5, -0.6, -0.4, 0.001), "no"),
            (estimate(0.0, -0.2, 0.2, 1.0), "undecided"),
            (estimate(0.0, 0.0, 0.0, 1.0, FEWEST - 1), "undecided"),
            (NOTHING_MEASURED, "undecided"),
        ],
    )
    def test_answers(self, found: Estimate, expected: str) -> None:
        assert answer(found, matters=0.05, level=0.95) == expected

    def test_every_control_has_to_be_exceeded(self) -> None:
        one, other = estimate(0.3, 0.2, 0.4, 0.001), estimate(0.2, 0.1, 0.3, 0.2)
        assert worst({"one": one, "other": other}) == other
        assert worst({"one": one, "other": replace(other, p=0.0001)}).p == 0.001
        assert math.isnan(worst({"one": one, "nothing": NOTHING_MEASURED}).effect)

    def test_p_values_are_corrected_together(self) -> None:
        found = corrected({"a": estimate(1, 1, 1, 0.01), "b": estimate(1, 1, 1, 0.02), "c": estimate(1, 1, 1, 0.5)})
        assert [one.p for one in found.values()] == pytest.approx([0.03, 0.04, 0.5])

    def test_ranking_is_by_mean_place(self) -> None:
        def finding(effect: float) -> Finding:
            return Finding(estimate(effect, effect, effect, 1), "undecided", {})

        findings = {
            "fooled": {"h1": finding(0.9), "h2": finding(0.9), "h3": finding(0.0)},
            "hard": {"h1": finding(0.1), "h2": finding(0.1), "h3": finding(0.4)},
            "unknown": {claim: Finding(NOTHING_MEASURED, "undecided", {}) for claim in ("h1", "h2", "h3")},
        }
        assert ranking(findings) == ["hard", "fooled", "unknown"]


class TestClaims:
    """Measured rows with known answers: 3 victims, 40 images, 2 targets."""

    victim = torch.arange(3).repeat_interleave(80)
    image = torch.arange(40).repeat_interleave(2).repeat(3)
    noise = 0.05 * torch.randn(240, generator=draws(3))

    @pytest.fixture(scope="class")
    @classmethod
    def claims(cls) -> Claims:
        return Claims(settings_from(compose([*STUDY, "reliability.resamples=1000"])).reliability, seed=0)

    def rows(self, **columns: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"victim": self.victim, "image": self.image} | columns

    def pairs(self, **columns: torch.Tensor) -> dict[str, torch.Tensor]:
        chance = 0.05 * torch.randn(240, SWAPS, generator=draws(4))
        return self.rows(**dict.fromkeys(TOLD, torch.ones(240)) | {"chance": chance} | columns)

    def changes(self, attack: float, **beside: float) -> dict[str, torch.Tensor]:
        names = dict.fromkeys(compose(STUDY).reliability.controls, 0.2) | beside
        columns = {f"change {name}": torch.full((240,), value) for name, value in names.items()}
        return self.rows(**columns, **{"change attack": attack + self.noise})

    def test_instability(self, claims: Claims) -> None:
        found = claims.instability(
            {
                "shifted": self.changes(0.6),
                "equal": self.changes(0.2),
                "one control moves as far": self.changes(0.6, real_pair=0.6),
                "the transition moves further": self.changes(0.6, transition=0.9),
            }
        )
        assert [one.verdict for one in found.values()] == ["yes", "no", "no", "yes"]
        assert found["shifted"].estimate.effect == pytest.approx(0.4, abs=0.02)
        assert found["shifted"].estimate.images == 40
        assert found["equal"].estimate.equivalence_p < 0.05
        beside = found["the transition moves further"].details
        assert beside["attack - transition"].high < 0
        assert beside["attack"].effect == pytest.approx(0.6, abs=0.02)

    def test_unfaithfulness(self, claims: Claims) -> None:
        full, zero = 0.5 + self.noise, self.noise

        def advantages_of(attack: torch.Tensor, x: torch.Tensor = full) -> dict[str, torch.Tensor]:
            columns = {"x": x, "attack": attack, "mean_map": full / 2}
            return self.rows(**{f"advantage {end}": values for end, values in columns.items()})

        found = claims.unfaithfulness(
            {
                "lost": advantages_of(zero.flip(0)),
                "kept": advantages_of(full.clone()),
                "nothing to lose": advantages_of(zero.clone(), x=zero),
            }
        )
        assert [one.verdict for one in found.values()] == ["yes", "no", "undecided"]
        assert found["lost"].details["attack"].effect == pytest.approx(0, abs=0.02)
        assert found["lost"].details["mean_map"].effect == pytest.approx(0.25, abs=0.02)

    def test_concealment(self, claims: Claims) -> None:
        chance, sure = 0.5 + self.noise, torch.ones(240)
        found = claims.concealment(
            {
                "betrayed": self.pairs(map=sure, confidence=chance, both=sure),
                "concealed": self.pairs(map=chance, confidence=chance, both=chance),
                "not matched": self.pairs(map=sure, confidence=sure, both=sure),
                "too few to learn from": self.pairs(
                    **dict.fromkeys(("map", "confidence", "both", "other class"), chance)
                ),
            }
        )
        assert [one.verdict for one in found.values()] == ["no", "yes", "undecided", "undecided"]
        assert found["betrayed"].estimate.effect == pytest.approx(0.5, abs=0.02)


class TestDetector:
    def test_area_by_hand(self) -> None:
        """Of nine pairs six are in order and one is a tie."""
        positive, negative = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 2.5])
        parts = auc_parts(positive, negative)
        assert parts.mean().item() == pytest.approx(5.5 / 9)
        # Above 1, 2 and 3 lie all but 1, 1½ and 3 negatives; below the negatives 0, 2 and 2½ all but 3, 1½ and 1.
        expected = torch.tensor([1 + 3, 1.5 + 1.5, 3 + 1]) / 3 - 5.5 / 9
        assert torch.allclose(parts, expected.double())

    def test_areas_are_the_mean_of_the_parts(self) -> None:
        scores, kind = torch.randn(40, 3, generator=draws()).round(decimals=1), torch.arange(40).unsqueeze(1) // 20
        for column, area in enumerate(areas(scores, kind.expand(40, 3))):
            assert area.item() == pytest.approx(auc_parts(scores[20:, column], scores[:20, column]).mean().item())

    def test_folds_keep_groups_together(self) -> None:
        group = torch.tensor([7, 7, 3, 9, 9, 9, 1])
        fold = folds(group, 3, draws())
        assert all(len(fold[group == number].unique()) == 1 for number in group)
        assert fold.unique().tolist() == [0, 1, 2]

    def test_no_row_is_seen_before_it_is_scored(self) -> None:
        """Kinds drawn by a coin: nothing can be learnt, and what was learnt by heart would show."""
        features = torch.randn(400, 10, generator=draws(5))
        kind = torch.randint(2, (400,), generator=draws(6))
        scores = held_out_scores(features, kind, torch.arange(400) % 5)
        area = (scores[kind == 1][:, None] > scores[kind == 0]).double().mean().item()
        assert area == pytest.approx(0.5, abs=0.09)  # three standard errors

    @pytest.mark.parametrize("apart", [True, False])
    def test_maps_are_told_apart_or_not(self, apart: bool) -> None:
        count = 120
        label = torch.arange(count) % 3
        honest = torch.randn(count, 4, 4, generator=draws(7))
        attacked = torch.randn(count, 4, 4, generator=draws(8)) + (6.0 * torch.eye(4) if apart else 0)
        same = torch.randn(count, 2, generator=draws(9))
        image = torch.arange(count) // 2
        other = honest.flip(0) - 8 * torch.eye(4)
        told = tell_apart((same, same), (attacked, honest), other, label, image, 5, 0.05, seed=0)
        assert tuple(told) == TOLD
        assert {len(values) for values in told.values()} == {count}
        assert told["other class"].mean() > 0.99
        claims = Claims(settings_from(compose([*STUDY, "reliability.resamples=500"])).reliability, seed=0)
        rows = {"victim": torch.zeros_like(image), "image": image} | told
        found = claims.concealment({"map": rows})["map"]
        area = found.details["AUC of map - 0.5"]
        if apart:
            assert area.effect == pytest.approx(0.5, abs=1e-3)
            assert found.verdict == "no"
            assert told["passes"].mean() < 0.05
            assert swap_test(told) == 1 / (1 + SWAPS)
        else:
            assert area.low < 0 < area.high
            assert found.verdict != "no"
            assert swap_test(told) > 0.01
            assert told["passes"].mean() > 0.85


class TestMatching:
    def test_pairs_are_of_one_class_and_near(self) -> None:
        honest = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [2.1, 2.1]])
        honest_label = torch.tensor([0, 0, 0, 1])
        attacked = torch.tensor([[2.1, 2.1], [0.9, 0.9], [0.1, 0.1], [9.0, 9.0]])
        rows, columns = match(attacked, torch.tensor([0, 0, 0, 1]), honest, honest_label, caliper=0.5)
        assert rows.tolist() == [0, 1, 2]
        assert columns.tolist() == [2, 1, 0]

    def test_each_honest_image_is_used_once(self) -> None:
        honest = torch.randn(30, 2, generator=draws())
        rows, columns = match(honest[:1].repeat(9, 1), torch.zeros(9), honest, torch.zeros(30), caliper=5.0)
        assert len(rows) == len(columns.unique()) == 9

    def test_certainty_by_hand(self) -> None:
        logits = torch.tensor([[2.0, 1.0, 0.0]])
        odds = 2 - math.log(math.e + 1)
        assert certainty(logits, torch.tensor([0]))[0].tolist() == pytest.approx([odds, 1.0])


def test_a_right_ranking_has_an_advantage_and_a_wrong_one_the_opposite() -> None:
    """The margin is how bright the upper left quarter's pixels are, squared: both baselines take it away."""

    def network(images: torch.Tensor) -> torch.Tensor:
        bright = images[:, 0, :4, :4].square().sum(dim=(1, 2))
        return torch.stack([bright, -bright], dim=1)

    images = torch.rand(300, 1, 8, 8, generator=draws(2))
    right = torch.zeros(300, 8, 8)
    right[:, :4, :4] = 1
    label, target = torch.zeros(300, dtype=torch.long), torch.ones(300, dtype=torch.long)
    arguments = (images, {"right": right, "wrong": -right}, label, target, 8, 1.0)
    found = advantages(network, *arguments, draws(), CPU)
    assert found["right"].mean().item() == pytest.approx(0.75, abs=0.1)  # area 7/8 less area 1/8
    assert found["wrong"].mean().item() == pytest.approx(-0.75, abs=0.1)
    larger = advantages(lambda images: 9 * network(images), *arguments, draws(), CPU)
    assert torch.allclose(larger["right"], found["right"], atol=1e-4)  # the unit is the margin itself


def test_the_gauge_reverses_cam_and_leaves_answers_and_contrast_cam() -> None:
    torch.manual_seed(0)
    network = GapCNN(1, 3, (2, 3, 4)).double().eval()
    images = torch.rand(5, 1, 16, 16, dtype=torch.float64)
    label, target = torch.tensor([1, 1, 1, 1, 1]), torch.tensor([0, 2, 0, 2, 0])
    probs = network(images).softmax(dim=1)
    before = [
        method(Subject.with_exact_cam(network, images), images, label, target) for method in (cam, contrast_cam)
    ]
    network.classifier = regauged(network.classifier, reversing_vector(network.classifier, 1))
    after = [method(Subject.with_exact_cam(network, images), images, label, target) for method in (cam, contrast_cam)]
    assert torch.allclose(network(images).softmax(dim=1), probs, rtol=0, atol=1e-9)
    assert torch.allclose(after[0], -before[0], rtol=0, atol=1e-9)
    assert torch.allclose(after[1], before[1], rtol=0, atol=1e-9)
    assert before[0].abs().max() > 1e-3
    assert isinstance(network.classifier, nn.Linear)


class TestHeldMap:
    """`attack=type1_cam`: what is minimised besides, and that nothing is where nobody asks."""

    torch.manual_seed(4)
    victim = GapCNN(1, 3, (2, 4, 6)).eval().requires_grad_(False)
    generator = SVAE(1, 3, (16, 16), 4, width=2, hidden=8).eval().requires_grad_(False)
    x = torch.rand(5, 1, 16, 16)
    y, target = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 2, 0, 2, 0])

    def test_a_picture_has_its_own_map(self) -> None:
        logits, move = HeldMap.of(self.victim, self.x, self.y).logits_and_move(self.victim, self.x, self.y)
        assert torch.allclose(move, torch.zeros(5), atol=1e-5)
        assert torch.allclose(logits, self.victim(self.x), atol=1e-6)

    def test_is_the_change_that_the_study_measures(self) -> None:
        other = self.x.flip(3).requires_grad_()
        _, move = (
            HeldMap.of(self.victim, self.x, self.y)
            .rows(torch.tensor([1, 4]))
            .logits_and_move(self.victim, other[[1, 4]], self.y[[1, 4]])
        )
        subject = Subject.with_exact_cam(self.victim, self.x)
        before, after = (cam(subject, images.detach(), self.y, self.target) for images in (self.x, other))
        assert torch.allclose(move, change(before, after)[[1, 4]], atol=1e-5)
        (gradient,) = torch.autograd.grad(move.sum(), other)
        assert gradient[[1, 4]].abs().sum() > 0

    @pytest.mark.parametrize("weight", [0.0, 20.0])
    def test_a_walk_that_looks_at_the_map_moves_it_less(self, settings: Settings, weight: float) -> None:
        plan = settings.attack
        weights = plan.weights.model_copy(update={"cam": weight, "surrogates": 0.0})
        changes = {"weights": weights, "starts": ["mean"], "keep_best": False, "steps": 30}
        attack = LatentAttack(self.victim, self.generator, plan.model_copy(update=changes))
        result = attack(self.x, self.y, self.target)
        assert ("cam" in result.terms) == (weight > 0)
        if weight:
            moved = result.terms["cam"]
            assert moved[:, -1].mean() < moved[:, 0].mean()
            assert (moved[:, -1] >= 0).all()

    def test_of_two_kept_codes_the_one_whose_map_moved_less_is_better(self) -> None:
        zero, odds = torch.zeros(3), torch.tensor([9.0, 9.0, -9.0])
        terms = Terms(odds, zero, zero, zero, zero, zero[:, None], cam=torch.tensor([0.5, 0.1, 0.0]))
        assert score(terms, 0.9, 0.0).argsort().tolist() == [2, 0, 1]
        assert torch.equal(terms.rows(odds > 0).cam, terms.cam[:2])
        weights = Weights(f2=1, surrogates=1, discriminator=1, norm=1, cam=4)
        assert terms.total(weights, zero).tolist() == pytest.approx([2.0, 0.4, 0.0])

    def test_needs_an_exact_cam(self, settings: Settings) -> None:
        plan = settings.attack.model_copy(
            update={"weights": settings.attack.weights.model_copy(update={"cam": 1.0}), "starts": ["mean"]}
        )
        without = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
        with pytest.raises(UserError, match="CAM is not defined"):
            LatentAttack(without, self.generator, plan)(self.x, self.y, self.target)

    def test_is_refused_before_anything_is_trained(self, command: Callable[..., Answer], tiny: list[str]) -> None:
        plain = [change for change in tiny if "widths" not in change]
        answer = command(*plain, "attack=type1_cam", "model/victim=lenet")
        assert answer.code == 2
        assert "CAM is not defined" in answer.err
        assert not Path("outputs/models").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["reliability.victims=[0,0]"], "names a seed twice"),
        (["reliability.confidence=0.8"], "no stronger attack"),
        (["reliability.targets=10"], "9 other classes"),
        (["model.victim.training=null"], "comes trained"),
        (["reliability.images=1"], "reliability.images=1"),
        ([f"reliability.controls.{name}.matched=false" for name in MATCHED], "nothing to exceed"),
        (["+reliability.controls.attack=${reliability.controls.real_pair}"], "another key"),
        (["reliability.explanations.cam.method._target_=cam_adv.nowhere"], "can't be imported"),
        (["reliability.explanations.grad_cam.method.rectify=null", "+reliability.explanations.cam.method.x=1"], "x"),
    ],
)
def test_what_can_not_be_studied_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        settings_from(compose([*STUDY, *overrides]))


def test_observations_are_kept_as_they_are(tmp_path: Path) -> None:
    observations = {
        "b": Observation({"z /1": torch.tensor([1.0, math.nan]), "a": torch.tensor([3, 4])}, {}),
        "a": Observation({"image": torch.empty(0)}, {"chance": torch.empty(0, 5, dtype=torch.float64)}),
    }
    save_observations(observations, tmp_path / "kept.safetensors")
    found = load_observations(tmp_path / "kept.safetensors")
    assert list(found) == ["b", "a"]
    for name, observation in observations.items():
        for part, table in vars(observation).items():
            read = getattr(found[name], part)
            assert list(read) == list(table)
            for column, values in table.items():
                assert read[column].dtype == values.dtype
                assert torch.equal(read[column].nan_to_num(7), values.nan_to_num(7))


class TestStudy:
    """Two victims, six images, two targets, through the command line."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
        overrides = [
            *STUDY,
            "reliability.confidence=0.5",
            "reliability.resamples=200",
            "reliability.erasure_steps=2",
            "reliability.folds=2",
            "reliability.caliper=3",
            "~reliability.explanations.score_cam",
            "reliability.explanations.integrated_gradients.method.steps=2",
            "model.generator.training.svae_epochs=60",
            "attack.steps=60",
            "attack.confidence=0.34",
            "attack.batch_size=12",
        ]
        root = tmp_path_factory.mktemp("reliability")
        # All that follows holds of a study that was killed when one victim of two was done with.
        killed([*tiny, *overrides, "hydra.run.dir=run"], root, "run/batches/observed_*.safetensors")
        answer = called([*tiny, *overrides, "resume=run"], root)
        assert answer.code == 0, answer.err
        assert "H3 concealment" in answer.out
        return root / "run"

    @pytest.fixture(scope="class")
    @classmethod
    def content(cls, folder: Path) -> dict:
        return json.loads((folder / "reliability.json").read_text())

    def test_answers_every_claim_about_every_explanation(self, content: dict) -> None:
        expected = set(compose(STUDY).reliability.explanations) - {"score_cam"}
        assert set(content) == expected
        for explanation in content.values():
            assert set(explanation) == {"h1", "h2", "h3"}
            for claim in explanation.values():
                assert claim["verdict"] == "undecided"  # of six images nothing is known
                assert claim["images"] <= 6
                assert 0 <= claim["p"] <= 1
                if claim["effect"] is not None:
                    assert claim["low"] <= claim["effect"] <= claim["high"]
        assert content["cam"]["h1"]["effect"] is not None
        assert content["cam"]["h2"]["effect"] is not None
        assert content["cam"]["h1"]["details"].keys() >= {
            "attack - reconstruction", "attack - real_pair", "attack - latent_walk", "attack - pixel_noise",
            "attack - transition", "attack - real_target", "attack - random_weights", "attack - shuffled_labels",
            "attack - blank_image", "attack - mean_map", "attack - random_map",
        }  # fmt: skip

    def test_attacks_are_the_same_images_on_every_victim(self, folder: Path) -> None:
        attacks = json.loads((folder / "attacks.json").read_text())
        for name in ("attack", "stronger attack"):
            files = [load_file(folder / f"{name.replace(' ', '_')}_{seed}.safetensors") for seed in (0, 1)]
            assert all(torch.equal(files[0][key], files[1][key]) for key in ("x", "y", "target", "index"))
            assert not torch.equal(files[0]["x_adv"], files[1]["x_adv"])
            successes = torch.cat([file["success"] for file in files])
            assert attacks[name]["success"]["rate"] == pytest.approx(successes.double().mean().item())

    def test_replicated_maps_give_replicated_answers(self, content: dict, folder: Path) -> None:
        """Contrast CAM and CAM differ; Grad-CAM's ReLU is all that parts it from CAM, whose ranking is the same."""
        assert content["contrast_cam"]["h1"]["effect"] != content["cam"]["h1"]["effect"]
        with (folder / "measures.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert {line["measure"] for line in lines} >= {"change", "spearman", "top_iou", "ssim", "earth_movers"}
        assert all(math.isfinite(float(line["mean"])) for line in lines if line["measure"] == "change")

    def test_leaves_a_page_and_nothing_unfinished(self, folder: Path) -> None:
        walk = "dots_to_häuser"
        for name in ("reliability", "gauge", "controls", "trajectories", walk, f"explanations_{walk}"):
            with Image.open(folder / "figures" / f"{name}.png") as picture:
                assert min(picture.size) > 100
                low, high = picture.convert("L").getextrema()
                assert high - low > 100
        assert not [path for path in folder.parent.rglob("*") if path.name.endswith((".part", ".training"))]
        assert not (folder / "batches").exists()
        assert not (folder / "summary.json").exists()  # an attack's, from which a sweep takes its rates

    def test_the_page_tells_every_verdict_and_shows_every_picture(self, folder: Path, content: dict) -> None:
        page = html.unescape((folder / "reliability.html").read_text())
        for name, claims in content.items():
            assert f"<td>{name}</td>" in page
            for found in claims.values():
                assert found["sentence"] in page
        shown = re.findall(r'<img src="([^"]+)"', page)
        assert {f"figures/{path.name}" for path in (folder / "figures").glob("*.png")} == set(shown)
        ranks = [
            page.index(f"<td>{name}</td>") for name in json.loads((folder / "attacks.json").read_text())["ranking"]
        ]
        assert ranks == sorted(ranks)

    def test_shuffled_labels_teach_nothing(self, folder: Path) -> None:
        """The network that knows nothing was trained on its own labels, not on the victim's."""
        metrics = [
            json.loads(path.read_text())["accuracy"]
            for path in (folder.parent / "outputs" / "models").glob("victim-*/metrics.json")
        ]
        assert len(metrics) == 3
        assert min(metrics) < 0.7
