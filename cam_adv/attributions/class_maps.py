"""Attributions computed from the exact CAM: the map of one class, a difference of two classes, and an ablation."""

import torch
from torch import Tensor

from cam_adv.attributions.cam import checked_cams
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.models.input_checks import check_labels
from cam_adv.models.modes import eval_mode


def cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """CAM_y(i, j) = Σ_k w_yk A_k(i, j) (Zhou et al. 2016, arXiv 1512.04150, eq. 2): its mean plus b_y is the logit.

    It explains the logit, not the probability: adding one vector to every row of w changes this map, but no
    probability (see `softmax_invariance`).

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not used.

    Returns:
        Raw signed maps `(N, h, w)`, in logits per position.

    Raises:
        UserError: the network has no exact CAM, or its maps do not add up to its logits.
    """
    return _of_class(_all_classes(layer_target, images), label)


def contrast_cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """CAM_y − CAM_y': its mean plus b_y − b_y' is the margin between both classes.

    Adding one vector to every row of w does not change it. Args, returns and raises as `cam`, with target y' `(N,)`.
    """
    maps = _all_classes(layer_target, images)
    return _of_class(maps, label) - _of_class(maps, target)


def last_channel_cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """w_yK A_K, the last channel alone: an ablation, not an explanation.

    This is the result of a loop over channels that assigns instead of adding, a mistake of the program from which
    this study started. It is kept to show what its maps were worth. Args, returns and raises as `cam`.
    """
    linear = layer_target.cam_head().linear
    with torch.no_grad():
        logits, feature_map = layer_target.logits_and_maps(images)
        check_labels(label, len(images), logits.shape[1], "The label")
        return linear.weight[label, -1, None, None] * feature_map[:, -1]


def _all_classes(layer_target: LayerTarget, images: Tensor) -> Tensor:
    with eval_mode(layer_target.network):
        return checked_cams(layer_target.network, layer_target.cam_head(), images.contiguous())[1]


def _of_class(maps: Tensor, label: Tensor) -> Tensor:
    check_labels(label, len(maps), maps.shape[1], "The label")
    return maps[torch.arange(len(maps), device=maps.device), label]
