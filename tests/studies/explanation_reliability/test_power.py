"""Power that is stated before the run: against simulated studies and by hand."""

import pytest
import torch
from reliability_config import make_config
from scipy import stats

from cam_adv.metrics.significance import crossed_mean
from cam_adv.studies.explanation_reliability.config import Spread
from cam_adv.studies.explanation_reliability.power import power_to_json, shown_above, standard_error, study_power

SPREAD = Spread(victim=0.05, image=0.3, rest=0.2)


def test_standard_error_by_hand() -> None:
    """Of 4 victims and 25 images: 0.05²/4 + 0.3²/25 + 0.2²/100 = 0.000625 + 0.0036 + 0.0004."""
    error, freedom = standard_error(SPREAD, victims=4, images=25)
    assert error**2 == pytest.approx(0.004625)
    assert freedom == pytest.approx(0.004625**2 / (0.001025**2 / 3 + 0.004**2 / 24))
    assert standard_error(SPREAD, victims=1, images=25) == pytest.approx(((0.0036 + 0.0016) ** 0.5, 24))


def test_shown_above_at_the_threshold_is_the_level_and_matches_a_z_test_of_much_data() -> None:
    assert shown_above(0.0, 0.1, 30, 0.05) == pytest.approx(0.05)
    assert shown_above(0.2, 0.1, 1e6, 0.05) == pytest.approx(stats.norm.sf(stats.norm.isf(0.05) - 2), abs=1e-4)


def test_study_power_is_that_of_simulated_studies() -> None:
    """A true instability of 0.2 with a margin of 0.1, 5 victims and 40 images, one explanation."""
    changes = {"victims": [0, 1, 2, 3, 4], "images": 50, "assumed": make_config().assumed.model_dump()}
    changes["assumed"]["instability"] = SPREAD.model_dump()
    found = next(one for one in study_power(make_config(**changes)) if one.effect == "instability")
    assert found.images == 40
    generator, victim, image = (
        torch.Generator().manual_seed(0),
        *torch.cartesian_prod(torch.arange(5), torch.arange(40)).T,
    )
    shown = 0
    for _ in range(400):
        victims, images, rest = (torch.randn(shape, generator=generator) for shape in ((5, 1), (1, 40), (5, 40)))
        values = 0.2 + SPREAD.victim * victims + SPREAD.image * images + SPREAD.rest * rest
        shown += crossed_mean(values.flatten(), victim, image, image).p_values(0.1)[0] <= 0.05 / 2
    assert found.above[0.2] == pytest.approx(shown / 400, abs=0.08)
    assert found.below[0.0] == pytest.approx(found.above[0.2])
    assert shown_above(found.smallest - 0.1, *standard_error(SPREAD, 5, 40), 0.05 / 2) == pytest.approx(0.8)


def test_power_to_json_has_every_arm_and_effect() -> None:
    records = power_to_json(study_power(make_config()))
    assert [(one["arm"], one["effect"]) for one in records] == [
        ("attack", effect) for effect in ("instability", "unfaithfulness", "concealment", "passing")
    ]
