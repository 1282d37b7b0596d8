"""The benchmark's arithmetic, on work whose length is known; nothing here is timed."""

from itertools import cycle

import pytest

from cam_adv.benchmark import comparison


def test_ratios_are_of_neighbours_and_without_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a slow machine drives: both take ten times as long in every second round."""
    seconds = iter([50.0, 50.0, *(slow * length for slow in (1, 10, 1, 10, 1) for length in (3.0, 2.0))])
    now = 0.0
    ends = cycle([False, True])

    def clock() -> float:
        nonlocal now
        if next(ends):
            now += next(seconds)
        return now

    monkeypatch.setattr(comparison.time, "perf_counter", clock)
    line = comparison.compare("work", lambda: None, "other work", lambda: None, repeats=5, limit=1.3)
    assert (line.ours, line.other, line.ratio) == (3, 2, 1.5)
    assert (line.low, line.high) == pytest.approx((1.5, 1.5))
    assert next(seconds, None) is None
