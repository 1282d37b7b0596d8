"""The bounds of the minimal perturbation: counts and medians by hand."""

import json
import math

import torch

from cam_adv.studies.min_perturbation.bounds import PerturbationBounds
from cam_adv.studies.min_perturbation.clever import CleverEstimate
from cam_adv.studies.min_perturbation.search import MinimalPerturbation


def perturbation_bounds(clever: list[float], found: list[float], p_value: list[float]) -> PerturbationBounds:
    """Two classes; class 0 is y."""
    bound = torch.tensor(clever)
    targeted = torch.stack([torch.full_like(bound, math.inf), bound], dim=1)
    ones = torch.stack([torch.full_like(bound, math.nan), torch.ones_like(bound)], dim=1)
    p_values = torch.stack([ones[:, 0], torch.tensor(p_value)], dim=1)
    estimate = CleverEstimate(targeted, ones, ones, ones, p_values)
    attacks = ["ddn" if math.isfinite(one) else "" for one in found]
    minimal = MinimalPerturbation(torch.tensor(found), attacks, torch.zeros(len(found), 1, 1, 1))
    return PerturbationBounds("l2", 2.0, 0.05, estimate, minimal)


def test_bounds_summary_by_hand() -> None:
    bounds = perturbation_bounds([1.0, 1.5, 2.0, 0.5], [2.0, 1.0, math.inf, 1.0], [0.5, 0.01, 0.5, 1.0])
    summary = bounds.summary()
    assert bounds.exceeds.tolist() == [False, True, False, False]
    assert {name: summary[name]["rate"] for name in ("exceeds", "poor_fit", "at_radius")} == {
        "exceeds": 0.25,
        "poor_fit": 0.25,
        "at_radius": 0.25,
    }
    assert (summary["median_clever"], summary["median_found"], summary["median_ratio"]) == (1.25, 1.5, 2.0)
    assert (summary["not_found"], summary["found_by"]) == (1, {"ddn": 3})


def test_bounds_summary_of_infinite_median_is_null() -> None:
    summary = perturbation_bounds([1.0], [math.inf], [0.5]).summary()
    assert (summary["median_found"], summary["median_ratio"]) == (None, None)
    json.dumps(summary, allow_nan=False)
