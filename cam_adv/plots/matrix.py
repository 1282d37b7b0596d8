"""The success rates of all pairs of source and target class as a matrix."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.plots.filmstrip import BOLD, HEADING_SIZE, text_width

CELL = 0.46  # inches; room for "100%" above "n=9999"
MAX_LABELLED_CLASSES = 20  # with more, the cells shrink so that the matrix fits a page, and have no text


def with_totals(counts: Tensor) -> Tensor:
    """Counts (K, K) with a zero diagonal and the row and column sums appended: (K + 1, K + 1), int64.

    The diagonal is set to zero, since a class isn't attacked towards itself.
    """
    counts = counts.detach().cpu().long()
    pairs = counts - counts.diagonal().diag()
    rows = torch.cat([pairs, pairs.sum(dim=1, keepdim=True)], dim=1)
    return torch.cat([rows, rows.sum(dim=0, keepdim=True)])


def matrix_figure(
    successes: Tensor,
    attempts: Tensor,
    class_names: Sequence[str],
    heading: str,
    row_label: str = "source class y",
    column_label: str = "target class y′",
) -> Figure:
    """The matrix as a figure: rows are classes y, columns classes y'.

    The colour scale is always [0, 1]. The last row and column pool the attempts of their column and row. Cells
    without an attempt are blank.

    Args:
        successes, attempts: counts (K, K).
    """
    successes, attempts = with_totals(successes), with_totals(attempts)
    rates = successes / attempts  # 0 / 0 is NaN, which is drawn as a blank cell
    side = len(rates)
    labels = [*class_names, "all"]
    readable = side <= MAX_LABELLED_CLASSES + 1
    ticks = range(side) if readable else [side - 1]

    # Lengths in inches.
    cell = CELL if readable else CELL * MAX_LABELLED_CLASSES / side
    body = cell * side
    label_width = max(text_width(labels[i], 7) for i in ticks)
    rotated = label_width > 0.9 * cell and readable
    left, right, top, bottom = 0.32 + label_width, 0.72, 0.3, 0.26 + (label_width if rotated else 0.1)
    width = left + max(body + right, text_width(heading, BOLD * HEADING_SIZE) + 0.1)
    height = top + body + bottom
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, body / width, body / height))

    image = axes.imshow(rates.numpy(), cmap="cividis", vmin=0, vmax=1)
    axes.set_title(heading, size=HEADING_SIZE, weight="bold", loc="left", pad=6)
    axes.set_ylabel(row_label, size=8)
    axes.set_xlabel(column_label, size=8)
    axes.set_xticks(ticks, [labels[i] for i in ticks], size=7, rotation=90 if rotated else 0)
    axes.set_yticks(ticks, [labels[i] for i in ticks], size=7)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    for edge in range(1, side):
        # A wide white line separates the pooled rates from the pairs.
        line: dict[str, Any] = {"color": "white", "linewidth": 4 if edge == side - 1 else 0.6 if readable else 0}
        axes.axhline(edge - 0.5, **line)
        axes.axvline(edge - 0.5, **line)

    if readable:
        for row, column in torch.nonzero(attempts).tolist():
            rate = float(rates[row, column])
            color = "black" if rate > 0.5 else "white"
            text = f"{100 * rate:.0f}%\nn={int(attempts[row, column])}"
            axes.text(column, row, text, ha="center", va="center", size=6.5, linespacing=1.15, color=color)

    bar_axes = figure.add_axes(((left + body + 0.12) / width, bottom / height, 0.09 / width, body / height))
    bar = figure.colorbar(image, cax=bar_axes)
    bar.set_ticks([0, 0.5, 1], labels=["0%", "50%", "100%"])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("success rate", size=7, labelpad=1)
    bar.outline.set_visible(False)
    return figure
