"""Where attacks change pixels, beside where the CAM points: files for programs, a table, and a panel of pictures."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.intervals import Interval
from cam_adv.evaluation.map_change import highest
from cam_adv.kinds.perturbed_pixels import PerturbedPixels, energy, region
from cam_adv.report.files import write_summary
from cam_adv.report.strip import cam_scale, show_cam, show_picture
from cam_adv.report.style import COLORS, DPI, HEADING_SIZE
from cam_adv.settings import PerturbedPixelsSettings
from cam_adv.writing import write_whole

PICTURE = 0.8  # inches
MARK = COLORS[2]
LINES = {
    "true": "in the region of y",
    "target": "in that of y'",
    "others": "in that of another class",
    "random": "in one at random",
    "true_less_others": "y less another class",
    "true_less_random": "y less random",
    "target_less_others": "y' less another class",
    "target_less_random": "y' less random",
}
"""What the table says of each measure that it shows."""


def report_perturbed_pixels(
    found: Mapping[str, PerturbedPixels] | None,
    assessments: Mapping[str, Assessment],
    plan: PerturbedPixelsSettings,
    class_names: Sequence[str],
    index: Tensor,
    folder: Path,
) -> None:
    """`perturbed_pixels.csv`, its `.json`, `figures/perturbed_pixels.png` and the table, in the run's folder.

    Args:
        found: see `perturbed_pixels`; where it is nothing, that is said, and nothing is written.
        index: which test image each row of the assessments is of, `(N,)`.
    """
    if not found:
        why = "the victim has no exact one" if found is None else "no attack succeeded on two images"
        print(f"Nothing is said of perturbed pixels on the CAM: {why}.")
        return
    write_shares(found, index, folder / "perturbed_pixels.csv")
    write_summary(perturbed_pixels_content(found), folder / "perturbed_pixels.json")
    figure = perturbed_pixels_figure(assessments, shown(found), plan, class_names)
    figure.savefig(folder / "figures" / "perturbed_pixels.png", dpi=DPI)
    print_perturbed_pixels(found)


def write_shares(found: Mapping[str, PerturbedPixels], index: Tensor, path: Path) -> None:
    """`perturbed_pixels.csv`: a line for each success; `index` `(N,)` numbers all attacked images."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, one in found.items():
        columns = vars(one.inside)
        if not text.tell():
            writer.writerow(["attack", "index", *columns])
        for position, row in enumerate(one.rows.tolist()):
            shares = (f"{float(values[position]):.6f}" for values in columns.values())
            writer.writerow([name, int(index[row]), *shares])
    write_whole(path, text.getvalue())


def perturbed_pixels_content(found: Mapping[str, PerturbedPixels]) -> dict[str, Any]:
    """What `perturbed_pixels.json` holds: for each attack how many successes, and every measure's mean over them."""
    return {
        name: {"images": len(one.rows)} | {measure: asdict(mean) for measure, mean in one.means.items()}
        for name, one in found.items()
    }


def print_perturbed_pixels(found: Mapping[str, PerturbedPixels]) -> None:
    """A column for each attack: shares of the energy inside each region, and by what they exceed the controls'."""
    table = Table(
        title="share of the perturbation's energy inside the CAM's region: means over successes",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for name, one in found.items():
        table.add_column(f"{name}\n{len(one.rows)} images", no_wrap=True)
    for measure, line in LINES.items():
        table.add_row(line, *(_cell(measure, one.means.get(measure)) for one in found.values()))
    Console().print(table)


def perturbed_pixels_figure(
    assessments: Mapping[str, Assessment],
    rows: Mapping[str, int],
    plan: PerturbedPixelsSettings,
    class_names: Sequence[str],
) -> Figure:
    """A block for each attack: x above x', each as a picture, with its CAM, and with the most perturbed pixels on it.

    The CAM is that of the class that the victim says, on one scale for x and x'. The outline is the CAM's region, the
    squares are the most perturbed pixels with all that are level with them, and the number is the share of the
    perturbation's energy inside.

    Args:
        assessments: of attacks by name, of victims with an exact CAM.
        rows: by the attack's name, which of its images is shown.
    """
    figure = Figure(figsize=(3 * PICTURE * len(rows) + 0.5, 2 * PICTURE + 0.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    heading = "The most perturbed pixels on the CAM"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    blocks = figure.subfigures(1, len(rows), squeeze=False, wspace=0.04)[0]
    for block, (name, row) in zip(blocks, rows.items(), strict=True):
        _draw_block(block, name, assessments[name], row, plan, class_names)
    return figure


def shown(found: Mapping[str, PerturbedPixels]) -> dict[str, int]:
    """For each attack the first image on which they all succeeded, or if there is none its own first success."""
    successes = {name: one.rows.tolist() for name, one in found.items()}
    of_all = set.intersection(*map(set, successes.values()))
    return {name: min(of_all or rows) for name, rows in successes.items()}


def _draw_block(
    block: SubFigure,
    name: str,
    one: Assessment,
    row: int,
    plan: PerturbedPixelsSettings,
    class_names: Sequence[str],
) -> None:
    moved = energy(one.result.x[row : row + 1], one.result.x_adv[row : row + 1])
    most = highest(moved.flatten(1), max(1, round(plan.marked * moved[0].numel()))).reshape(moved.shape)[0] > 0
    pictures = (("x", one.result.x, one.on_x), ("x'", one.result.x_adv, one.on_x_adv))
    said = [int(opinions.victim[row].argmax()) for _, _, opinions in pictures]
    cams = [opinions.cam[row, label] for (_, _, opinions), label in zip(pictures, said, strict=True)]
    scale = cam_scale(cams)
    block.suptitle(f"{name}: colours to ±{scale:.2g} logits", size=7)
    grid = block.subplots(2, 3)
    for axes, (title, images, opinions), label, cam in zip(grid, pictures, said, cams, strict=True):
        inside = region(cam[None], moved.shape[1:], plan.region)
        share = float((moved * inside).sum() / moved.sum())
        show_picture(axes[0], images[row])
        show_cam(axes[1], images[row], cam, scale)
        show_cam(axes[2], images[row], cam, scale)
        axes[2].contour(inside[0], levels=[0.5], colors="black", linewidths=0.6)
        _mark(axes[2], most)
        axes[0].set_title(f"{title}, judge [{class_names[opinions.judge[row].argmax()]}]", size=6, pad=2)
        axes[1].set_title(f"CAM of [{class_names[label]}]", size=6, pad=2)
        axes[2].set_title(f"{share:.0%} inside", size=6, pad=2)
        for panel in axes:
            panel.spines[:].set_linewidth(0.4)


def _mark(axes: Axes, pixels: Tensor) -> None:
    """Paint these pixels `(H, W)`."""
    painted = np.zeros((*pixels.shape, 4))
    painted[pixels.numpy()] = [*(int(MARK[at : at + 2], 16) / 255 for at in (1, 3, 5)), 0.9]
    axes.imshow(painted)


def _cell(measure: str, mean: Interval | None) -> str:
    if mean is None:
        return ""
    sign = "+" if "less" in measure else ""
    return f"{mean.estimate:{sign}.2f}\n({mean.low:{sign}.2f} to {mean.high:{sign}.2f})"
