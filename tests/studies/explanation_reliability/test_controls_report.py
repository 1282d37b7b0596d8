"""Mean dissimilarities under the attack and the controls."""

import pytest
import torch

from cam_adv.studies.explanation_reliability.controls_report import dissimilarities_figure, mean_dissimilarities
from cam_adv.studies.explanation_reliability.measurements import Measurements


def measured(attack: float, control: float) -> dict[str, Measurements]:
    rows = {
        "victim": torch.zeros(2),
        "map_dissimilarity attack": torch.full((2,), attack),
        "map_dissimilarity blank_image": torch.tensor([control + 0.1, torch.nan]),
    }
    return {"cam": Measurements(rows, {}, {})}


def test_mean_dissimilarities_average_usable_rows_of_all_victims_and_are_drawn() -> None:
    means = mean_dissimilarities([measured(0.5, 0.1), measured(0.7, 0.3)], ["cam"])
    assert list(means) == ["attack", "blank_image"]
    assert means["attack"]["cam"] == pytest.approx(0.6)
    assert means["blank_image"]["cam"] == pytest.approx(0.3)
    written = [text.get_text() for text in dissimilarities_figure(means).axes[0].texts]
    assert written == ["0.60", "0.30"]


def test_mean_dissimilarities_without_successes_are_empty() -> None:
    assert mean_dissimilarities([], ["cam"]) == {}
