"""Progress on a terminal and without one."""

import sys
from io import StringIO

import pytest

from cam_adv.runtime import progress
from cam_adv.runtime.progress import Progress, track


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_without_a_terminal_there_is_a_line_every_half_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """800 updates in a hundred seconds."""
    with Progress("attack type1", 800, "steps") as shown:
        for step in range(1, 801):
            clock.now += 0.125
            shown.update(step, f"{800 - step} active")
    assert capsys.readouterr().err.splitlines() == [
        "attack type1: 0 of 800 steps",
        "attack type1: 240 of 800 steps, 00:30, about 01:10 left; 560 active",
        "attack type1: 480 of 800 steps, 01:00, about 00:40 left; 320 active",
        "attack type1: 720 of 800 steps, 01:30, about 00:10 left; 80 active",
        "attack type1: 800 of 800 steps, 01:40; 0 active",
    ]


def test_what_was_done_before_does_not_count_for_the_time_that_is_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("victim", 40, "epochs", done=30) as shown:
        clock.now += 60
        shown.update(32)
        clock.now += 60
        shown.update(40)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "victim: 32 of 40 epochs, 01:00, about 04:00 left"


def test_last_line_is_printed_once_where_each_update_is_due(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("victim", 2, "epochs") as shown:
        for epoch in (1, 2):
            clock.now += 60
            shown.update(epoch)
    assert capsys.readouterr().err.splitlines() == [
        "victim: 0 of 2 epochs",
        "victim: 1 of 2 epochs, 01:00, about 01:00 left",
        "victim: 2 of 2 epochs, 02:00",
    ]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("attack", 4, "steps") as shown:
        shown.update(4, "batch 2 of 2")
    drawn = terminal.getvalue()
    assert "\rattack:   0%|" in drawn
    assert "attack: 100%|" in drawn
    assert "batch 2 of 2" in drawn


def test_short_computation_is_not_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("ab", "maps", "explanations")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    for _ in track("ab", "maps", "explanations"):
        clock.now += 5
    assert capsys.readouterr().err.splitlines() == [
        "maps: 1 of 2 explanations, 00:05, about 00:05 left",
        "maps: 2 of 2 explanations, 00:10",
    ]


def test_computation_that_fails_has_no_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Progress("attack", 4, "steps"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == "attack: 0 of 4 steps\n"


def test_silent_process_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("attack", 4, "steps", shown=False) as shown:
        shown.update(4)
    assert capsys.readouterr().err == ""
