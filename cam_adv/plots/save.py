"""Figures on disk."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from cam_adv.plots.style import DPI
from cam_adv.runtime.atomic_files import write_atomically

COMPRESSION = 4
"""Of PNG files, from 0 to 9: the files are hardly larger than with Pillow's 6, and written in three quarters of the
time."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    content = BytesIO()
    figure.savefig(content, dpi=DPI, format="png", pil_kwargs={"compress_level": COMPRESSION})
    write_atomically(path, content.getvalue())
