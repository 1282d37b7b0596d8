"""Perturbed pixels and the CAM: regions and shares of energy by hand, the controls, and the report."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from cam_adv.plots.drawing import Drawing
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig, DetectorConfig, PerturbedPixelsConfig
from cam_adv.studies.attack_comparison.perturbed_pixels import (
    energy_at_all_shifts,
    perturbation_energy,
    perturbed_pixels,
    region_energy,
    top_region,
)
from cam_adv.studies.attack_comparison.perturbed_pixels_report import (
    example_rows,
    perturbed_pixels_content,
    report_perturbed_pixels,
)

CONFIG = AttackComparisonConfig(
    images=30,
    target_fpr=0.01,
    prevalences=[0.5],
    n_resamples=50,
    level=0.95,
    detectors=DetectorConfig(bits=1, window=2, min_auc=0.75),
    perturbed_pixels=PerturbedPixelsConfig(region=0.3, marked=0.05),
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def corner_maps(*corners: int) -> torch.Tensor:
    """A map of 2×2 for each class, 1 in one corner each, counted by rows."""
    return torch.eye(4)[list(corners)].reshape(1, -1, 2, 2)


def evaluations(**successes: list[int]) -> dict[str, SimpleNamespace]:
    """Of noise on 6 images of 3 classes, with maps of noise; attack → the images on which it succeeded."""
    x, maps, y = (
        torch.rand(6, 1, 8, 8, generator=seeded(1)),
        torch.randn(6, 3, 4, 4, generator=seeded(2)),
        torch.arange(6) % 3,
    )
    made = {}
    for number, (name, images) in enumerate(successes.items()):
        success = torch.zeros(6, dtype=torch.bool)
        success[images] = True
        x_adv = torch.rand(6, 1, 8, 8, generator=seeded(3 + number))
        result = SimpleNamespace(x=x, x_adv=x_adv, y=y, target=torch.where(success, (y + 1) % 3, y))
        made[name] = SimpleNamespace(
            result=result,
            on_x=SimpleNamespace(cam=maps),
            verdict=SimpleNamespace(success=success),
            cluster=torch.arange(6),
        )
    return made


def test_top_region_contains_highest_pixels_of_upsampled_map() -> None:
    maps = torch.randn(3, 7, 7, generator=seeded())
    inside = top_region(maps, (28, 28), 0.3)
    upsampled = functional.interpolate(maps[:, None].double(), (28, 28), mode="bilinear")[:, 0]
    assert inside.sum(dim=(1, 2)).tolist() == pytest.approx([235] * 3)  # 0.3 · 784 = 235.2
    for one, values in zip(inside, upsampled, strict=True):
        assert values[one == 1].min() >= values[one == 0].max()


def test_top_region_shares_places_among_tied_pixels() -> None:
    inside = top_region(torch.zeros(1, 2, 2), (4, 4), 0.25)
    assert torch.equal(inside, torch.full((1, 4, 4), 0.25).double())


def test_region_energy_by_hand() -> None:
    # At the size of the map a region of a quarter is one pixel.
    x = torch.zeros(1, 2, 2, 2)
    x_adv = torch.tensor([[[[0.3, 0.1], [0.0, 0.2]], [[0.4, 0.0], [0.1, 0.0]]]])
    assert perturbation_energy(x, x_adv)[0].flatten().tolist() == pytest.approx([0.25, 0.01, 0.01, 0.04])
    energy = region_energy(x, x_adv, corner_maps(0, 1, 2, 3), torch.tensor([0]), torch.tensor([3]), 0.25)
    assert energy.true.item() == pytest.approx(25 / 31)
    assert energy.target.item() == pytest.approx(4 / 31)
    assert energy.others.item() == pytest.approx(1 / 31)
    assert energy.random.item() == 0.25
    assert energy.true_rank.item() == pytest.approx(3.5 / 4)  # above the three others, equal to itself
    assert energy.target_rank.item() == pytest.approx(2.5 / 4)
    measures = energy.measures()
    assert measures["true_minus_others"].item() == pytest.approx(24 / 31)
    assert measures["target_minus_random"].item() == pytest.approx(4 / 31 - 0.25)
    # ‖B ∘ δ‖₂ / ‖δ‖₂
    assert measures["true_interpretability_score"].item() == pytest.approx(0.5 / 0.31**0.5)


def test_two_classes_have_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN for every image, also where rounding leaves a rest beside the regions of y and y'."""
    x, maps = torch.rand(50, 1, 8, 8, generator=seeded(1)), torch.randn(50, 2, 4, 4, generator=seeded(2))
    y = torch.arange(50) % 2
    result = SimpleNamespace(x=x, x_adv=torch.rand(50, 1, 8, 8, generator=seeded(3)), y=y, target=1 - y)
    predictions = SimpleNamespace(cam=maps, victim=torch.eye(2)[y], judge_reads=y)
    verdict = SimpleNamespace(success=torch.ones(50, dtype=torch.bool))
    one = SimpleNamespace(
        result=result, on_x=predictions, on_x_adv=predictions, verdict=verdict, cluster=torch.arange(50)
    )
    results = perturbed_pixels({"pgd": one}, CONFIG, seed=0)
    assert results["pgd"].energy.others.isnan().all()
    assert {name for name in results["pgd"].energy.measures() if name not in results["pgd"].means} == {
        "others",
        "true_minus_others",
        "target_minus_others",
    }
    drawing = Drawing(tmp_path)
    report_perturbed_pixels(
        results, {"pgd": one}, CONFIG.perturbed_pixels, ["a", "b"], torch.arange(50), tmp_path, drawing
    )
    printed = capsys.readouterr().out
    assert "another class" not in printed
    assert "in that of y'" in printed
    assert "NaN" not in (tmp_path / "perturbed_pixels.json").read_text()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_region_energy_of_even_perturbation_is_the_regions_area(share: float) -> None:
    x = torch.full((2, 1, 12, 12), 0.5)
    maps = torch.randn(2, 4, 3, 3, generator=seeded())
    x_adv = x + 0.125 * (2 * torch.randint(2, x.shape, generator=seeded()) - 1)
    energy = region_energy(x, x_adv, maps, torch.tensor([0, 1]), torch.tensor([2, 3]), share)
    area = round(share * 144) / 144
    for name in ("true", "target", "others", "random"):
        assert getattr(energy, name).tolist() == pytest.approx([area] * 2, rel=1e-12), name
    assert energy.true_rank.tolist() == [0.5] * 2


def test_energy_at_all_shifts_equals_rolled_regions() -> None:
    energy = torch.rand(2, 5, 6, generator=seeded()).double()
    region = top_region(torch.randn(2, 3, 3, generator=seeded()), (5, 6), 0.4)
    inside = energy_at_all_shifts(energy, region).reshape(2, 5, 6)
    for down in range(5):
        for right in range(6):
            shifted = region.roll((down, right), dims=(1, 2))
            expected = (energy * shifted).sum(dim=(1, 2)) / energy.sum(dim=(1, 2))
            torch.testing.assert_close(inside[:, down, right], expected)
    torch.testing.assert_close(inside.mean(dim=(1, 2)), torch.full((2,), 12 / 30).double())


def test_perturbed_pixels_average_over_successes() -> None:
    evaluated = evaluations(often=[0, 2, 5], once=[1], never=[])
    results = perturbed_pixels(evaluated, CONFIG, seed=0)
    assert list(results) == ["often"]
    rows, result = torch.tensor([0, 2, 5]), evaluated["often"].result
    assert torch.equal(results["often"].rows, rows)
    maps = evaluated["often"].on_x.cam
    energy = region_energy(result.x[rows], result.x_adv[rows], maps[rows], result.y[rows], result.target[rows], 0.3)
    content = perturbed_pixels_content(results)["often"]
    assert content["images"] == 3
    for measure, values in energy.measures().items():
        assert content[measure]["estimate"] == pytest.approx(values.mean().item())
        assert values.min() - 1e-9 <= content[measure]["low"] <= content[measure]["high"] <= values.max() + 1e-9


def test_perturbed_pixels_without_exact_cam_is_none() -> None:
    evaluated = evaluations(often=[0, 2])
    evaluated["often"].on_x.cam = None
    assert perturbed_pixels(evaluated, CONFIG, seed=0) is None


@pytest.mark.parametrize(("results", "reason"), [(None, "no exact CAM"), ({}, "no attack succeeded on two images")])
def test_report_without_results_prints_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], results: dict | None, reason: str
) -> None:
    report_perturbed_pixels(results, {}, CONFIG.perturbed_pixels, ["a"], torch.arange(0), tmp_path, Drawing(tmp_path))
    assert reason in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_example_rows_prefer_images_on_which_all_attacks_succeeded() -> None:
    common = perturbed_pixels(evaluations(a=[0, 2, 4], b=[1, 4, 5], c=[3, 4]), CONFIG, seed=0)
    assert example_rows(common) == {"a": 4, "b": 4, "c": 4}
    disjoint = perturbed_pixels(evaluations(a=[0, 2], b=[1, 4]), CONFIG, seed=0)
    assert example_rows(disjoint) == {"a": 0, "b": 1}
