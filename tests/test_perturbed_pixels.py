"""Perturbed pixels on the CAM: regions and shares of energy by hand, the controls, and what the stage leaves."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import compose
from torch.nn import functional

from cam_adv.config import settings_from
from cam_adv.kinds.perturbed_pixels import (
    at_all_positions,
    energy,
    perturbation_inside,
    perturbed_pixels,
    region,
)
from cam_adv.report.perturbed_pixels import perturbed_pixels_content, report_perturbed_pixels, shown
from cam_adv.settings import KindsSettings


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_region_is_the_highest_pixels_of_the_enlarged_map() -> None:
    maps = torch.randn(3, 7, 7, generator=draws())
    inside = region(maps, (28, 28), 0.3)
    large = functional.interpolate(maps[:, None].double(), (28, 28), mode="bilinear")[:, 0]
    assert inside.sum(dim=(1, 2)).tolist() == pytest.approx([235] * 3)  # 0.3 · 784 = 235.2
    for one, values in zip(inside, large, strict=True):
        assert values[one == 1].min() >= values[one == 0].max()


def test_tied_pixels_share_what_is_left_of_a_region() -> None:
    inside = region(torch.zeros(1, 2, 2), (4, 4), 0.25)
    assert torch.equal(inside, torch.full((1, 4, 4), 0.25).double())


def corners(*highest: int) -> torch.Tensor:
    """A map of 2×2 for each class, high in one corner each, counted by rows."""
    return torch.eye(4)[list(highest)].reshape(1, -1, 2, 2)


def test_shares_by_hand() -> None:
    # At the size of the map a region of a quarter is one pixel.
    x = torch.zeros(1, 2, 2, 2)
    x_adv = torch.tensor([[[[0.3, 0.1], [0.0, 0.2]], [[0.4, 0.0], [0.1, 0.0]]]])
    assert energy(x, x_adv)[0].flatten().tolist() == pytest.approx([0.25, 0.01, 0.01, 0.04])
    found = perturbation_inside(x, x_adv, corners(0, 1, 2, 3), torch.tensor([0]), torch.tensor([3]), 0.25)
    assert found.true.item() == pytest.approx(25 / 31)
    assert found.target.item() == pytest.approx(4 / 31)
    assert found.others.item() == pytest.approx(1 / 31)
    assert found.random.item() == 0.25
    assert found.true_rank.item() == pytest.approx(3.5 / 4)  # above the three others, level with itself
    assert found.target_rank.item() == pytest.approx(2.5 / 4)
    measures = found.measures()
    assert measures["true_less_others"].item() == pytest.approx(24 / 31)
    assert measures["target_less_random"].item() == pytest.approx(4 / 31 - 0.25)
    # ‖B ∘ δ‖₂ / ‖δ‖₂
    assert measures["true_interpretability_score"].item() == pytest.approx(0.5 / 0.31**0.5)


def test_two_classes_leave_no_other() -> None:
    found = perturbation_inside(
        torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), corners(0, 1), torch.tensor([0]), torch.tensor([1]), 0.25
    )
    assert found.others.isnan().all()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_even_perturbation_has_the_regions_share_everywhere(share: float) -> None:
    x = torch.full((2, 1, 12, 12), 0.5)
    maps = torch.randn(2, 4, 3, 3, generator=draws())
    x_adv = x + 0.125 * (2 * torch.randint(2, x.shape, generator=draws()) - 1)
    found = perturbation_inside(x, x_adv, maps, torch.tensor([0, 1]), torch.tensor([2, 3]), share)
    area = round(share * 144) / 144
    for name in ("true", "target", "others", "random"):
        assert getattr(found, name).tolist() == pytest.approx([area] * 2, rel=1e-12), name
    assert found.true_rank.tolist() == [0.5] * 2


def test_positions_are_cyclic_shifts() -> None:
    moved = torch.rand(2, 5, 6, generator=draws()).double()
    inside = region(torch.randn(2, 3, 3, generator=draws()), (5, 6), 0.4)
    held = at_all_positions(moved, inside).reshape(2, 5, 6)
    for down in range(5):
        for right in range(6):
            shifted = inside.roll((down, right), dims=(1, 2))
            expected = (moved * shifted).sum(dim=(1, 2)) / moved.sum(dim=(1, 2))
            torch.testing.assert_close(held[:, down, right], expected)
    torch.testing.assert_close(held.mean(dim=(1, 2)), torch.full((2,), 12 / 30).double())


@pytest.fixture(scope="module")
def plan() -> KindsSettings:
    return settings_from(compose(["experiment=roc", "kinds.resamples=50"])).kinds


def assessments(**succeeded: list[int]) -> dict[str, SimpleNamespace]:
    """Of noise on 6 images of 3 classes, with maps of noise; by name the images on which the attack succeeded."""
    x, maps, y = (
        torch.rand(6, 1, 8, 8, generator=draws(1)),
        torch.randn(6, 3, 4, 4, generator=draws(2)),
        torch.arange(6) % 3,
    )
    found = {}
    for number, (name, images) in enumerate(succeeded.items()):
        success = torch.zeros(6, dtype=torch.bool)
        success[images] = True
        x_adv = torch.rand(6, 1, 8, 8, generator=draws(3 + number))
        result = SimpleNamespace(x=x, x_adv=x_adv, y=y, target=torch.where(success, (y + 1) % 3, y))
        found[name] = SimpleNamespace(
            result=result, on_x=SimpleNamespace(cam=maps), verdict=SimpleNamespace(success=success)
        )
    return found


def test_means_are_over_successes(plan: KindsSettings) -> None:
    judged = assessments(often=[0, 2, 5], once=[1], never=[])
    found = perturbed_pixels(judged, plan, seed=0)
    assert list(found) == ["often"]
    rows, of = torch.tensor([0, 2, 5]), judged["often"].result
    assert torch.equal(found["often"].rows, rows)
    maps = judged["often"].on_x.cam
    inside = perturbation_inside(of.x[rows], of.x_adv[rows], maps[rows], of.y[rows], of.target[rows], 0.3)
    content = perturbed_pixels_content(found)["often"]
    assert content["images"] == 3
    for measure, values in inside.measures().items():
        assert content[measure]["estimate"] == pytest.approx(values.mean().item())
        assert values.min() - 1e-9 <= content[measure]["low"] <= content[measure]["high"] <= values.max() + 1e-9


def test_without_an_exact_cam_there_is_nothing_to_say(plan: KindsSettings) -> None:
    judged = assessments(often=[0, 2])
    judged["often"].on_x.cam = None
    assert perturbed_pixels(judged, plan, seed=0) is None


@pytest.mark.parametrize(("found", "why"), [(None, "no exact one"), ({}, "no attack succeeded on two images")])
def test_nothing_to_say_is_said(
    plan: KindsSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], found: dict | None, why: str
) -> None:
    report_perturbed_pixels(found, {}, plan.perturbed_pixels, ["a"], torch.arange(0), tmp_path)
    assert why in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_image_shown_is_one_that_all_succeeded_on(plan: KindsSettings) -> None:
    one = perturbed_pixels(assessments(a=[0, 2, 4], b=[1, 4, 5], c=[3, 4]), plan, seed=0)
    assert shown(one) == {"a": 4, "b": 4, "c": 4}
    other = perturbed_pixels(assessments(a=[0, 2], b=[1, 4]), plan, seed=0)
    assert shown(other) == {"a": 0, "b": 1}
