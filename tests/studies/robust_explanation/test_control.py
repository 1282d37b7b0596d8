"""Whether unattacked images give more alarms than honest ones: by chance, and where they do."""

import pytest
import torch

from cam_adv.metrics.detector import assign_folds
from cam_adv.studies.robust_explanation.concealment import ExplainedImages
from cam_adv.studies.robust_explanation.control import adjust_p_values, control_p_value
from cam_adv.studies.robust_explanation.map_alarm import detector_alarms

PERMUTATIONS = 99


def explained(count: int, generator: torch.Generator, shift: float = 0.0, abstains: float = 0.1) -> ExplainedImages:
    """Maps of noise in three classes with a diagonal of height `shift`, of which a share is not shown."""
    maps = torch.randn(count, 4, 4, generator=generator) + shift * torch.eye(4)
    abstained = torch.rand(count, generator=generator) < abstains
    maps[abstained] = torch.nan
    return ExplainedImages(maps, abstained, torch.randint(3, (count,), generator=generator))


def p_value(unchanged: ExplainedImages, calibration: ExplainedImages, honest: ExplainedImages) -> float | None:
    return control_p_value(unchanged, calibration, honest, 0.1, 4, PERMUTATIONS, seed=0)


def test_p_values_of_images_like_honest_ones_are_as_small_as_by_chance() -> None:
    """100 times, with calibration images that differ from both: a binomial interval of 99.9% above 0.1."""
    found = []
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        calibration = explained(40, generator, shift=0.5, abstains=0.0)
        found.append(p_value(explained(20, generator), calibration, explained(40, generator)))
    p_values = torch.tensor(found)
    assert (p_values <= 0.1).double().mean() < 0.21
    assert 0.4 < p_values.mean() < 0.8  # ties between counts count as large


def test_images_that_differ_have_the_smallest_p_value() -> None:
    generator = torch.Generator().manual_seed(0)
    others = explained(60, generator), explained(80, generator)
    assert p_value(explained(30, generator, shift=6.0), *others) == pytest.approx(1 / (1 + PERMUTATIONS))
    assert p_value(explained(30, generator, abstains=0.7), *others) == pytest.approx(1 / (1 + PERMUTATIONS))


def test_without_maps_enough_only_abstentions_are_tested() -> None:
    generator = torch.Generator().manual_seed(0)
    calibration, honest = explained(60, generator, abstains=0.0), explained(80, generator, abstains=0.0)
    assert p_value(explained(3, generator, abstains=0.0), calibration, honest) is None
    assert p_value(explained(30, generator, abstains=0.0), explained(8, generator, abstains=0.0), honest) is None
    assert p_value(explained(30, generator, abstains=1.0), calibration, honest) == pytest.approx(1 / 100)


def test_each_column_has_a_detector_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 5, generator=generator).double()
    fold = assign_folds(torch.arange(60), 4, generator)
    columns, calibration = torch.rand(40, 3, generator=generator) < 0.5, torch.arange(60) >= 40
    columns = torch.cat([columns, torch.zeros(20, 3, dtype=torch.bool)])
    together = detector_alarms(features, columns, calibration, fold, 0.1)
    for number in range(3):
        assert torch.equal(together[:, number], detector_alarms(features, columns[:, number], calibration, fold, 0.1))


def test_p_values_are_corrected_by_holm_for_those_that_are_known() -> None:
    found = adjust_p_values({"a": 0.2, "b": None, "c": 0.01, "d": 0.03})
    assert found == {"a": pytest.approx(0.2), "b": None, "c": pytest.approx(0.03), "d": pytest.approx(0.06)}
    assert adjust_p_values({"a": None}) == {"a": None}
