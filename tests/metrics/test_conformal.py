"""The threshold that honest scores exceed no more often than asked for."""

import math

import pytest
import torch

from cam_adv.metrics.conformal import conformal_threshold


def test_threshold_is_the_score_of_the_conformal_rank() -> None:
    """Of 19 scores the largest, of 39 the second largest; 18 are too few for 5%."""
    scores = torch.arange(39, 0, -1).double()
    assert conformal_threshold(scores[:19], 0.05) == 39
    assert conformal_threshold(scores, 0.05) == 38
    assert conformal_threshold(scores[:18], 0.05) == math.inf


@pytest.mark.parametrize("count", [19, 20, 40, 64, 81, 200])
@pytest.mark.parametrize("level", [0.05, 0.1])
def test_of_equally_distributed_scores_no_more_exceed_it(count: int, level: float) -> None:
    """Each of n + 1 scores is the further one with the same probability, and a quantile by interpolation is exceeded
    too often."""
    scores = torch.randn(count + 1, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    others = [torch.cat([scores[:one], scores[one + 1 :]]) for one in range(count + 1)]
    exceed = [one > conformal_threshold(rest, level) for one, rest in zip(scores.tolist(), others, strict=True)]
    assert level - 1 / (count + 1) < sum(exceed) / (count + 1) <= level
    interpolated = [one > torch.quantile(rest, 1 - level) for one, rest in zip(scores, others, strict=True)]
    assert sum(interpolated) >= sum(exceed)
