"""Names of classes in figures: literally, and in a font that has their characters."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image

from cam_adv.plots import fonts
from cam_adv.plots.filmstrip import text_width
from cam_adv.plots.save import make_texts_literal, save_figure

HAN = "猫"


@pytest.fixture
def han_font(tmp_path: Path) -> Iterator[str]:
    """An installed font, its name, whose only glyph is a square as wide as the font is high."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "han"])
    builder.setupCharacterMap({ord(HAN): "han"})
    builder.setupGlyf({".notdef": square, "han": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "han": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "One Han Glyph", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000)
    builder.setupPost()
    builder.save(tmp_path / "han.ttf")
    before = fontManager.ttflist[:]
    fontManager.addfont(tmp_path / "han.ttf")
    fonts._families_with.cache_clear()
    yield "One Han Glyph"
    fontManager.ttflist[:] = before
    fonts._families_with.cache_clear()


def with_title(title: str) -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().set_title(title)
    return figure


@pytest.mark.parametrize("name", [r"$\frac$", "$x", "a$^b$c_%", r"\alpha", "#&{}~", "[b] <i>", "\\$5\\$"])
def test_name_is_drawn_literally(tmp_path: Path, name: str) -> None:
    figure = with_title(name)
    save_figure(figure, tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").format == "PNG"
    (title,) = (text for text in figure.findobj(Text) if text.get_text() == name)
    assert title._preprocess_math(name) == (name, False)


def test_ticks_of_a_logarithmic_axis_stay_powers_of_ten() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([1, 2], [1e-3, 1e3])
    axes.set_yscale("log")
    make_texts_literal(figure)
    figure.draw_without_rendering()
    assert all(label.get_parse_math() for label in axes.get_yticklabels())
    assert not axes.title.get_parse_math()


@pytest.mark.parametrize("name", ["cat", "größer", "−≥′δ✓"])
def test_names_that_the_font_has_need_no_other(name: str) -> None:
    assert fonts.fallbacks(name) == []


def test_missing_characters_come_from_an_installed_font(
    han_font: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figure = with_title(f"7 {HAN}")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        save_figure(figure, tmp_path / "figure.png")
    assert [str(warning.message) for warning in found] == []
    assert caplog.messages == []
    assert figure.axes[0].title.get_fontfamily()[-1] == han_font
    assert text_width(HAN, 72) == pytest.approx(1.0, abs=0.02)  # an inch, as its glyph is as wide as high


def test_character_that_no_font_has_is_told_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    fonts._families_with.cache_clear()
    with caplog.at_level(logging.WARNING):
        for title in ("\U0002a6b2 a", "\U0002a6b2 b"):
            save_figure(with_title(title), tmp_path / "figure.png")
    (message,) = caplog.messages
    assert message.startswith("Figures show a box for each of \U0002a6b2: no installed font has these characters.")
