"""Figures that can't be drawn."""

import logging
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cam_adv.errors import UserError
from cam_adv.plots.drawing import Drawing


def empty(side: float) -> Figure:
    return Figure(figsize=(side, side))


def failing(error: Exception) -> Figure:
    raise error


def test_figure_that_fails_is_told_and_counted_and_the_others_are_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawing = Drawing(tmp_path / "figures")
    errors = [ValueError("no\nluck"), OSError(28, "No space left on device"), UserError("It can't be.", "Leave it.")]
    with caplog.at_level(logging.WARNING):
        for number, error in enumerate(errors):
            drawing.draw(f"{number}.png", failing, error)
        drawing.draw("good.png", empty, 1)
    assert [path.name for path in drawing.folder.iterdir()] == ["good.png"]
    assert drawing.failed == ["0.png", "1.png", "2.png"]
    assert caplog.messages == [
        "0.png can't be drawn: ValueError: no luck",
        "1.png can't be drawn: OSError: [Errno 28] No space left on device",
        "2.png can't be drawn: It can't be. Leave it.",
    ]
    assert [record.exc_info for record in caplog.records] == [False] * 3


def test_figure_that_matplotlib_cannot_save_leaves_no_file(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path / "figures")
    drawing.draw("huge.png", empty, 1e4)
    assert (drawing.failed, list(drawing.folder.iterdir())) == (["huge.png"], [])


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file")
    drawing = Drawing(tmp_path / "figures")
    drawing.draw("a.png", empty, 1)
    assert drawing.failed == ["a.png"]


def test_debug_shows_the_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Drawing(tmp_path, debug=True).draw("a.png", failing, ValueError("no luck"))
    assert "in failing" in caplog.text


def test_nothing_is_made_where_no_figures_are_wanted(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path / "figures", wanted=False)
    drawing.draw("a.png", failing, ValueError())
    assert (drawing.failed, list(tmp_path.iterdir())) == ([], [])


def test_interrupt_is_no_failed_figure(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    with pytest.raises(KeyboardInterrupt), drawing.attempt("a.png"):
        raise KeyboardInterrupt
    assert drawing.failed == []
