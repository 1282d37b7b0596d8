"""The success rate of every class pair as a matrix."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.report.strip import BOLD, DPI, HEADING_SIZE, text_width

CELL = 0.46  # inches; holds "100%" over "n=9999"
NAMED_CLASSES = 20  # beyond these the cells shrink to fit a page and go without text
ALL = "all"


def with_totals(counts: Tensor) -> Tensor:
    """Counts (K, K) without their diagonal, their row and column sums appended: (K + 1, K + 1), int64.

    A class isn't attacked towards itself, so whatever stands on the diagonal is dropped.
    """
    counts = counts.detach().cpu().long()
    pairs = counts - counts.diagonal().diag()
    rows = torch.cat([pairs, pairs.sum(dim=1, keepdim=True)], dim=1)
    return torch.cat([rows, rows.sum(dim=0, keepdim=True)])


def matrix_figure(successes: Tensor, attempts: Tensor, class_names: Sequence[str], heading: str) -> Figure:
    """The matrix as a figure: rows are source classes y, columns target classes y'.

    successes, attempts: (K, K) counts. Colour runs from 0 to 1 whatever the rates. The last row and column
    pool the attempts of their column and row. Cells without an attempt stay blank.
    """
    won, tried = with_totals(successes), with_totals(attempts)
    rates = won / tried  # 0 / 0 is NaN, which is drawn as nothing
    side = len(rates)
    labels = [*class_names, ALL]
    readable = side <= NAMED_CLASSES + 1
    ticks = range(side) if readable else [side - 1]

    # Lengths in inches.
    cell = CELL if readable else CELL * NAMED_CLASSES / side
    body = cell * side
    names = max(text_width(labels[i], 7) for i in ticks)
    upright = names > 0.9 * cell and readable
    left, right, top, bottom = 0.32 + names, 0.72, 0.3, 0.26 + (names if upright else 0.1)
    width = left + max(body + right, text_width(heading, BOLD * HEADING_SIZE) + 0.1)
    height = top + body + bottom
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, body / width, body / height))

    image = axes.imshow(rates.numpy(), cmap="cividis", vmin=0, vmax=1)
    axes.set_title(heading, size=HEADING_SIZE, weight="bold", loc="left", pad=6)
    axes.set_ylabel("source class y", size=8)
    axes.set_xlabel("target class y′", size=8)
    axes.set_xticks(ticks, [labels[i] for i in ticks], size=7, rotation=90 if upright else 0)
    axes.set_yticks(ticks, [labels[i] for i in ticks], size=7)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    for edge in range(1, side):
        # A wide white line parts the pooled margin from the pairs.
        line = {"color": "white", "linewidth": 4 if edge == side - 1 else 0.6 if readable else 0}
        axes.axhline(edge - 0.5, **line)
        axes.axvline(edge - 0.5, **line)

    if readable:
        for row, column in torch.nonzero(tried).tolist():
            rate = float(rates[row, column])
            color = "black" if rate > 0.5 else "white"
            text = f"{100 * rate:.0f}%\nn={int(tried[row, column])}"
            axes.text(column, row, text, ha="center", va="center", size=6.5, linespacing=1.15, color=color)

    beside = figure.add_axes(((left + body + 0.12) / width, bottom / height, 0.09 / width, body / height))
    bar = figure.colorbar(image, cax=beside)
    bar.set_ticks([0, 0.5, 1], labels=["0%", "50%", "100%"])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("success rate", size=7, labelpad=1)
    bar.outline.set_visible(False)
    return figure


def draw_matrix(successes: Tensor, attempts: Tensor, class_names: Sequence[str], heading: str, path: Path) -> None:
    """Write the matrix of success rates as a picture to path; see matrix_figure."""
    matrix_figure(successes, attempts, class_names, heading).savefig(path, dpi=DPI)
