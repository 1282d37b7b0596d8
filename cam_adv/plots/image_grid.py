"""A grid of image pairs x | x', with what victim and judge say of x'; with a residual x | G(z) | δ | x'."""

from collections.abc import Sequence
from math import ceil

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cam_adv.metrics.evaluation import SAMPLE
from cam_adv.models.judge import reading_text
from cam_adv.plots.filmstrip import GRAY_SCALE, RESIDUAL_LABEL, enlarged_residual, image_pixels, text_width
from cam_adv.plots.page import POINT, Box, page, place_frame, place_image

SUCCESS, FAILURE = "#007A5A", "#C04A00"  # safe for all kinds of colour vision; the line style differs too
PAIRS_PER_ROW = 8
TEXT_SIZE = 6.0


def image_grid_figure(
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    target: Tensor,
    victim_label: Tensor,
    victim_confidence: Tensor,
    judge_reads: Tensor,
    success: Tensor,
    class_names: Sequence[str],
    generated: Tensor | None = None,
    from_samples: bool = False,
    note: str = "",
) -> Figure:
    """The grid as a figure: the pairs row by row in the order given.

    A success has a check mark and a solid frame, a failure a cross and a dashed frame. The victim is labelled f1.

    Args:
        x, x_adv: (N, C, H, W) in [0, 1].
        y, target: the source and the target class, (N,).
        victim_label, victim_confidence: the prediction for x_adv, (N,).
        judge_reads: the class that the judge reads in x_adv, or NOTHING, (N,).
        success: whether the attack succeeded, (N,).
        generated: G(z) of an attack with a residual, (N, C, H, W): it and the enlarged residual x' − G(z) stand
            between x and x'.
        from_samples: whether x is a sample of y' instead of an image of y.
        note: stands under the grid.
    """
    if len(x) == 0:
        raise ValueError("an image grid needs at least one pair")
    classes = "{target} as {y}" if from_samples else "{y}→{target}"
    texts = [
        f"{'✓' if succeeded else '✗'} {classes.format(y=class_names[source], target=class_names[goal])}  "
        f"f1 [{class_names[victim]}] {_two_digits(victim_prob)}\n"
        f"judge [{reading_text(reading, class_names)}]"
        for source, goal, victim, victim_prob, reading, succeeded in zip(
            y.tolist(),
            target.tolist(),
            victim_label.tolist(),
            victim_confidence.tolist(),
            judge_reads.tolist(),
            success.tolist(),
            strict=True,
        )
    ]
    shown = [x, x_adv] if generated is None else [x, generated, enlarged_residual(x_adv - generated), x_adv]
    images = _side_by_side(shown)
    columns = min(2 * PAIRS_PER_ROW // len(shown), len(texts))
    rows = ceil(len(texts) / columns)

    # Lengths in inches. A pair is as wide as the widest line of text, but at least 0.8, or 1.6 with a residual.
    widest_text = max(text_width(line, TEXT_SIZE) for text in texts for line in text.splitlines())
    pair_width, column_gap, row_gap, margin = max(0.4 * len(shown), widest_text), 0.12, 0.35, 0.06
    pair_height = pair_width * images.shape[2] / images.shape[3]
    width = 2 * margin + columns * (pair_width + column_gap) - column_gap
    below = 0.5  # two lines of text under the last row, then the key and the note
    height = 2 * margin + rows * (pair_height + row_gap) - row_gap + below
    figure, axes = page(width, height)
    first = f"{SAMPLE}, which the victim must call y" if from_samples else "x"
    order = f"{first} | x'" if generated is None else f"{first} | G(z) | {RESIDUAL_LABEL} | x'"
    key = f"{order}. f1: the victim. ✓: success."
    axes.text(margin, height - margin, f"{key}\n{note}", size=TEXT_SIZE, va="bottom")
    for position, (image, text, succeeded) in enumerate(zip(images, texts, success.tolist(), strict=True)):
        row, column = divmod(position, columns)
        left, top = margin + column * (pair_width + column_gap), margin + row * (pair_height + row_gap)
        box = Box(left, top, pair_width, pair_height)
        place_image(axes, image_pixels(image), box, **GRAY_SCALE)
        color, line = (SUCCESS, "-") if succeeded else (FAILURE, (0, (2, 1.5)))
        place_frame(axes, box, color=color, linestyle=line, linewidth=1.6)
        label = axes.text(box.center, box.bottom + 3 * POINT, text, ha="center", va="top", size=TEXT_SIZE)
        label.set(linespacing=1.15, color="black" if succeeded else FAILURE)
    return figure


def _two_digits(confidence: float) -> str:
    return f"{confidence:.2f}".removeprefix("0")


def _side_by_side(images: Sequence[Tensor]) -> Tensor:
    first, *others = (one.detach().cpu() for one in images)
    separator = first.new_ones(*first.shape[:3], max(1, first.shape[3] // 14))
    return torch.cat([first, *(part for one in others for part in (separator, one))], dim=3)
