"""Figures on disk."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from cam_adv.plots.fonts import fallbacks
from cam_adv.plots.style import DPI
from cam_adv.runtime.atomic_files import write_atomically

COMPRESSION = 4
"""Of PNG files, from 0 to 9: the files are hardly larger than with Pillow's 6, and written in three quarters of the
time."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    write_atomically(path, figure_png(figure))


def figure_png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    content = BytesIO()
    make_texts_literal(figure)
    figure.savefig(content, dpi=DPI, format="png", pil_kwargs={"compress_level": COMPRESSION})
    return content.getvalue()


def make_texts_literal(figure: Figure) -> None:
    """Draw every text of a figure as it is, in fonts that have its characters.

    Matplotlib would read what stands between two `$` of a class's name as mathematics, and fail if it is none. The
    ticks of logarithmic axes, powers of ten, stay mathematics.
    """
    logarithmic = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if axis.get_scale() == "log"]
    powers = {label for axis in logarithmic for label in axis.get_ticklabels(which="both")}
    for text in set(figure.findobj(Text)) - powers:
        text.set_parse_math(False)
        if families := fallbacks(text.get_text()):
            text.set_fontfamily(list(dict.fromkeys([*text.get_fontfamily(), *families])))
