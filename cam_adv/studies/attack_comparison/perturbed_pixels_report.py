"""Where attacks perturb pixels and where the CAM is high: files for programs, a table and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.evaluator import Predictions
from cam_adv.metrics.intervals import Interval
from cam_adv.metrics.map_similarity import top_membership
from cam_adv.models.judge import reading_text
from cam_adv.plots.drawing import Drawing
from cam_adv.plots.filmstrip import cam_scale, show_cam, show_image
from cam_adv.plots.style import COLORS, HEADING_SIZE
from cam_adv.reports.console import new_table, print_table
from cam_adv.runtime.atomic_files import write_atomically, write_json
from cam_adv.runtime.csv_text import csv_text
from cam_adv.studies.attack_comparison.config import PerturbedPixelsConfig
from cam_adv.studies.attack_comparison.perturbed_pixels import PerturbedPixels, perturbation_energy, top_region

IMAGE_SIZE = 0.8  # inches
MARK_COLOR = COLORS[2]
ROWS = {
    "true": "in the region of y",
    "target": "in that of y'",
    "others": "in that of another class",
    "random": "in one at random",
    "true_minus_others": "y minus another class",
    "true_minus_random": "y minus random",
    "target_minus_others": "y' minus another class",
    "target_minus_random": "y' minus random",
}
"""The measures in the table, and their labels."""


def report_perturbed_pixels(
    results: Mapping[str, PerturbedPixels] | None,
    evaluations: Mapping[str, AttackEvaluation],
    config: PerturbedPixelsConfig,
    class_names: Sequence[str],
    index: Tensor,
    folder: Path,
    drawing: Drawing,
) -> None:
    """Write `perturbed_pixels.csv` and its `.json`, print the table, and draw `perturbed_pixels.png`.

    Args:
        results: see `perturbed_pixels`; where there are none, only a message with the reason is printed.
        index: position of each row's image among the test images, `(N,)`.
        folder: of the run.
    """
    if not results:
        reason = "the victim has no exact CAM" if results is None else "no attack succeeded on two images"
        print(f"The perturbed pixels are not compared with the CAM: {reason}.")
        return
    write_region_energies(results, index, folder / "perturbed_pixels.csv")
    write_json(folder / "perturbed_pixels.json", perturbed_pixels_content(results))
    print_perturbed_pixels(results)
    rows = example_rows(results)
    drawing.draw("perturbed_pixels.png", perturbed_pixels_figure, evaluations, rows, config, class_names)


def write_region_energies(results: Mapping[str, PerturbedPixels], index: Tensor, path: Path) -> None:
    """`perturbed_pixels.csv`: one row for each success of each attack.

    Args:
        index: position of each row's image among the test images, `(N,)`.
    """
    rows = []
    for name, one in results.items():
        for position, row in enumerate(one.rows.tolist()):
            shares = {measure: f"{float(values[position]):.6f}" for measure, values in vars(one.energy).items()}
            rows.append({"attack": name, "index": int(index[row]), **shares})
    write_atomically(path, csv_text(rows))


def perturbed_pixels_content(results: Mapping[str, PerturbedPixels]) -> dict[str, Any]:
    """The content of `perturbed_pixels.json`: attack → number of successes, and every measure's mean over them."""
    return {
        name: {"images": len(one.rows)} | {measure: asdict(mean) for measure, mean in one.means.items()}
        for name, one in results.items()
    }


def print_perturbed_pixels(results: Mapping[str, PerturbedPixels]) -> None:
    """Print the mean shares of energy inside the regions, and their differences to the controls, for each attack."""
    title = "share of the perturbation's energy inside the CAM's region: means over successes"
    table = new_table(title, compact=True)
    table.add_column("")
    for name, one in results.items():
        table.add_column(f"{name}\n{len(one.rows)} images", no_wrap=True)
    for measure, label in ROWS.items():
        if all(measure in one.means for one in results.values()):  # with two classes there are no others
            table.add_row(label, *(_cell(measure, one.means[measure]) for one in results.values()))
    print_table(table)


def perturbed_pixels_figure(
    evaluations: Mapping[str, AttackEvaluation],
    rows: Mapping[str, int],
    config: PerturbedPixelsConfig,
    class_names: Sequence[str],
) -> Figure:
    """A block for each attack: x above x', each as an image, with its CAM, and with the most perturbed pixels on it.

    The CAM is that of the class that the victim predicts, on one scale for x and x'. The outline is the CAM's region,
    the squares are the most perturbed pixels (all those tied at the threshold included), and the number is the share
    of the perturbation's energy inside the region.

    Args:
        evaluations: of attacks by name, on a victim with an exact CAM.
        rows: attack → row of the image that is shown.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(3 * IMAGE_SIZE * len(rows) + 0.5, 2 * IMAGE_SIZE + 0.8), layout=layout)
    heading = "The most perturbed pixels on the CAM"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    blocks = figure.subfigures(1, len(rows), squeeze=False, wspace=0.04)[0]
    for block, (name, row) in zip(blocks, rows.items(), strict=True):
        _draw_block(block, name, evaluations[name], row, config, class_names)
    return figure


def example_rows(results: Mapping[str, PerturbedPixels]) -> dict[str, int]:
    """For each attack the first row on which all attacks succeeded, or its own first success if there is none."""
    successes = {name: one.rows.tolist() for name, one in results.items()}
    common = set.intersection(*map(set, successes.values()))
    return {name: min(common or rows) for name, rows in successes.items()}


def _draw_block(
    block: SubFigure,
    name: str,
    evaluation: AttackEvaluation,
    row: int,
    config: PerturbedPixelsConfig,
    class_names: Sequence[str],
) -> None:
    x, x_adv = evaluation.result.x, evaluation.result.x_adv
    energy = perturbation_energy(x[row : row + 1], x_adv[row : row + 1])[0]
    most_perturbed = top_membership(energy.reshape(1, -1), max(1, round(config.marked * energy.numel())))[0] > 0
    predicted = [_predicted_cam(predictions, row) for predictions in (evaluation.on_x, evaluation.on_x_adv)]
    scale = cam_scale([cam for _, cam in predicted])
    judged = [int(predictions.judge_reads[row]) for predictions in (evaluation.on_x, evaluation.on_x_adv)]
    block.suptitle(f"{name}: colours to ±{scale:.2g} logits", size=7)
    grid = block.subplots(2, 3)
    for axes, title, images, (label, cam), judge_label in zip(
        grid, ("x", "x'"), (x, x_adv), predicted, judged, strict=True
    ):
        region = top_region(cam[None], (energy.shape[0], energy.shape[1]), config.region)[0]
        share = float((energy * region).sum() / energy.sum())
        show_image(axes[0], images[row])
        show_cam(axes[1], images[row], cam, scale)
        show_cam(axes[2], images[row], cam, scale)
        axes[2].contour(region, levels=[0.5], colors="black", linewidths=0.6)
        _mark(axes[2], most_perturbed.reshape(energy.shape))
        axes[0].set_title(f"{title}, judge [{reading_text(judge_label, class_names)}]", size=6, pad=2)
        axes[1].set_title(f"CAM of [{class_names[label]}]", size=6, pad=2)
        axes[2].set_title(f"{share:.0%} inside", size=6, pad=2)
        for panel in axes:
            panel.spines[:].set_linewidth(0.4)


def _predicted_cam(predictions: Predictions, row: int) -> tuple[int, Tensor]:
    """The class that the victim predicts, and its map `(h, w)`."""
    label = int(predictions.victim[row].argmax())
    assert predictions.cam is not None  # the figure is drawn of victims with an exact CAM
    return label, predictions.cam[row, label]


def _mark(axes: Axes, pixels: Tensor) -> None:
    """Paint these pixels `(H, W)`, bool."""
    overlay = np.zeros((*pixels.shape, 4))
    overlay[pixels.numpy()] = to_rgba(MARK_COLOR, 0.9)
    axes.imshow(overlay)


def _cell(measure: str, mean: Interval) -> str:
    sign = "+" if "minus" in measure else ""
    return f"{mean.estimate:{sign}.2f}\n({mean.low:{sign}.2f} to {mean.high:{sign}.2f})"
