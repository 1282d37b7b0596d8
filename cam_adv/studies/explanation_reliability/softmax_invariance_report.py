"""Two networks with equal predictions and opposite CAMs in one figure."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cam_adv.attributions.cam import class_activation_maps
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.attributions.softmax_invariance import negating_offset, with_row_offset
from cam_adv.plots.filmstrip import cam_scale
from cam_adv.plots.style import HEADING_SIZE


def softmax_invariance_figure(
    network: nn.Module, x: Tensor, y: Tensor, target: Tensor, class_names: Sequence[str]
) -> Figure:
    """An image, CAM of y, CAM of y minus CAM of y': as trained, and after a change that keeps all probabilities.

    Args:
        network: ends in global average pooling and one linear layer; on the CPU.
        x: `(1, C, H, W)` in [0, 1].
        y, target: `(1,)`.
    """
    layer_target = LayerTarget.with_exact_cam(network, x)
    linear = layer_target.cam_head().linear
    with torch.no_grad():
        feature_map = layer_target.logits_and_maps(x)[1]
    layers = {
        "as trained": linear,
        "one vector added to every row": with_row_offset(linear, negating_offset(linear, int(y))),
    }
    y_name, target_name = class_names[int(y)], class_names[int(target)]
    figure = Figure(figsize=(5.4, 3.9), layout="constrained")
    figure.suptitle("Equal predictions, opposite maps", size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    for row, (title, layer) in enumerate(layers.items()):
        with torch.no_grad():
            maps = class_activation_maps(feature_map, layer.weight)[0]
            prob = layer(feature_map.mean(dim=(2, 3))).softmax(dim=1)[0, int(y)].item()
        axes = figure.add_subplot(2, 3, 3 * row + 1)
        axes.imshow(x[0].movedim(0, 2), cmap="gray", vmin=0, vmax=1)
        axes.set_ylabel(title, size=7)
        axes.set_xlabel(f"[{y_name}] {prob:.6f}", size=7)
        panels = [axes]
        shown = {
            f"CAM of {y_name}": maps[int(y)],
            f"CAM of {y_name} − CAM of {target_name}": maps[int(y)] - maps[int(target)],
        }
        for column, (heading, cam) in enumerate(shown.items(), start=2):
            panels.append(figure.add_subplot(2, 3, 3 * row + column))
            scale = cam_scale([cam])
            image = panels[-1].imshow(cam, cmap="RdBu_r", vmin=-scale, vmax=scale)
            panels[-1].set_title(heading, size=7)
            figure.colorbar(image, ax=panels[-1], shrink=0.7).ax.tick_params(labelsize=6)
        for panel in panels:
            panel.set_xticks([])
            panel.set_yticks([])
    return figure
