"""Figures on disk."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from cam_adv.plots.style import DPI
from cam_adv.runtime.atomic_files import write_atomically


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    content = BytesIO()
    figure.savefig(content, dpi=DPI, format="png")
    write_atomically(path, content.getvalue())
