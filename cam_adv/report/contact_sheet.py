"""Many attacks at a glance: pairs x | x' with what the victim and the judge say of x'."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.report.strip import DPI, show_picture, text_width

SUCCESS, FAILURE = "#007A5A", "#C04A00"  # apart for every kind of colour sight; the line style differs too
PAIRS_A_ROW = 8
TEXT_SIZE = 6.0


def contact_sheet_figure(
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    target: Tensor,
    victim_label: Tensor,
    victim_confidence: Tensor,
    judge_label: Tensor,
    judge_confidence: Tensor,
    success: Tensor,
    class_names: Sequence[str],
) -> Figure:
    """The sheet as a figure, one axes a pair, row by row in the order given.

    x, x_adv: (N, C, H, W) in [0, 1]. All others are (N,): the source and the target class, what the victim
    (f1) and the judge say of x_adv, and whether the attack succeeded. A success has a check mark and a solid
    frame, a failure a cross and a dashed one.
    """
    if len(x) == 0:
        raise ValueError("a contact sheet needs at least one pair")
    texts = [
        _pair_text(class_names[a], class_names[b], class_names[f1], p1, class_names[judge], pj, won)
        for a, b, f1, p1, judge, pj, won in zip(
            y.tolist(),
            target.tolist(),
            victim_label.tolist(),
            victim_confidence.tolist(),
            judge_label.tolist(),
            judge_confidence.tolist(),
            success.tolist(),
            strict=True,
        )
    ]
    pictures = _side_by_side(x, x_adv)
    columns = min(PAIRS_A_ROW, len(texts))
    rows = ceil(len(texts) / columns)

    # Lengths in inches. The pair is as wide as its widest line, or as two thumbnails.
    widest = max(text_width(line, TEXT_SIZE) for text in texts for line in text.splitlines())
    pair, gap, below, margin = max(0.8, widest), 0.12, 0.35, 0.06
    tall = pair * pictures.shape[2] / pictures.shape[3]
    width = 2 * margin + columns * (pair + gap) - gap
    height = 2 * margin + rows * (tall + below) - below + 0.26
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        rows,
        columns,
        left=margin / width,
        right=1 - margin / width,
        top=1 - margin / height,
        bottom=(margin + 0.26) / height,
        wspace=gap / pair,
        hspace=below / tall,
    )
    for position, (picture, text, won) in enumerate(zip(pictures, texts, success.tolist(), strict=True)):
        axes = figure.add_subplot(grid[divmod(position, columns)])
        show_picture(axes, picture)
        axes.set_xlabel(text, size=TEXT_SIZE, labelpad=3, linespacing=1.15)
        _frame(axes, won)
    return figure


def draw_contact_sheet(
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    target: Tensor,
    victim_label: Tensor,
    victim_confidence: Tensor,
    judge_label: Tensor,
    judge_confidence: Tensor,
    success: Tensor,
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Write the contact sheet as a picture to path; see contact_sheet_figure."""
    contact_sheet_figure(
        x,
        x_adv,
        y,
        target,
        victim_label,
        victim_confidence,
        judge_label,
        judge_confidence,
        success,
        class_names,
    ).savefig(path, dpi=DPI)


def _pair_text(y: str, target: str, f1: str, p1: float, judge: str, pj: float, won: bool) -> str:
    return f"{'✓' if won else '✗'} {y}→{target}  f1 [{f1}] {_short(p1)}\njudge [{judge}] {_short(pj)}"


def _short(confidence: float) -> str:
    return f"{confidence:.2f}".removeprefix("0")


def _side_by_side(x: Tensor, x_adv: Tensor) -> Tensor:
    x, x_adv = x.detach().cpu(), x_adv.detach().cpu()
    seam = x.new_ones(*x.shape[:3], max(1, x.shape[3] // 14))
    return torch.cat([x, seam, x_adv], dim=3)


def _frame(axes: Axes, won: bool) -> None:
    for spine in axes.spines.values():
        spine.set(color=SUCCESS if won else FAILURE, linestyle="-" if won else (0, (2, 1.5)), linewidth=1.6)
    axes.xaxis.label.set_color("black" if won else FAILURE)
