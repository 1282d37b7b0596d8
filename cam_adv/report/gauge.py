"""Two networks with the same answers and opposite CAMs, in one picture."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cam_adv.explanation.cam import class_activation_maps
from cam_adv.explanation.gauge import regauged, reversing_vector
from cam_adv.explanation.subject import Subject
from cam_adv.report.strip import cam_scale
from cam_adv.report.style import DPI, HEADING_SIZE


def gauge_figure(network: nn.Module, x: Tensor, y: Tensor, target: Tensor, class_names: Sequence[str]) -> Figure:
    """An image, CAM of y, CAM of y less CAM of y': as trained, and after a change that no answer shows.

    Args:
        network: ends in global average pooling and one linear layer; on the CPU.
        x: `(1, C, H, W)` in [0, 1].
        y, target: `(1,)`.
    """
    subject = Subject.with_exact_cam(network, x)
    linear = subject.gap_linear().linear
    with torch.no_grad():
        feature_map = subject.logits_and_maps(x)[1]
    layers = {
        "as trained": linear,
        "one vector added to every row": regauged(linear, reversing_vector(linear, int(y))),
    }
    names = class_names[int(y)], class_names[int(target)]
    figure = Figure(figsize=(5.4, 3.9), layout="constrained")
    figure.suptitle("The same answers, opposite maps", size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    for row, (title, layer) in enumerate(layers.items()):
        with torch.no_grad():
            maps = class_activation_maps(feature_map, layer.weight)[0]
            probability = layer(feature_map.mean(dim=(2, 3))).softmax(dim=1)[0, int(y)].item()
        own, contrast = maps[int(y)], maps[int(y)] - maps[int(target)]
        axes = figure.add_subplot(2, 3, 3 * row + 1)
        axes.imshow(x[0].movedim(0, 2), cmap="gray", vmin=0, vmax=1)
        axes.set_ylabel(title, size=7)
        axes.set_xlabel(f"[{names[0]}] {probability:.6f}", size=7)
        shown = {f"CAM of {names[0]}": own, f"CAM of {names[0]} − CAM of {names[1]}": contrast}
        panels = [axes]
        for column, (heading, one) in enumerate(shown.items(), start=2):
            panels.append(figure.add_subplot(2, 3, 3 * row + column))
            scale = cam_scale([one])
            image = panels[-1].imshow(one, cmap="RdBu_r", vmin=-scale, vmax=scale)
            panels[-1].set_title(heading, size=7)
            figure.colorbar(image, ax=panels[-1], shrink=0.7).ax.tick_params(labelsize=6)
        for panel in panels:
            panel.set_xticks([])
            panel.set_yticks([])
    return figure


def draw_gauge(
    network: nn.Module, x: Tensor, y: Tensor, target: Tensor, class_names: Sequence[str], figures: Path
) -> None:
    """Write `gauge.png` into the folder `figures`; see gauge_figure."""
    gauge_figure(network, x, y, target, class_names).savefig(figures / "gauge.png", dpi=DPI)
