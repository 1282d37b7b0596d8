"""Explanations that are read off the exact CAM: the map of one class, of one class against another, and a mistake."""

import torch
from torch import Tensor

from cam_adv.explanation.cam import explain
from cam_adv.explanation.subject import Subject, as_in_use


def cam(subject: Subject, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """CAM_y(i, j) = Σ_k w_yk A_k(i, j) (Zhou et al. 2016, arXiv 1512.04150, eq. 2): its mean plus b_y is the logit.

    Of the logit, not of the probability: one vector added to every row of w changes this map but no answer.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not asked.

    Returns:
        Raw signed maps `(N, h, w)`, in logits per position.

    Raises:
        UserError: the network has no exact CAM, or its maps do not give its logits.
    """
    return _of_class(_all_classes(subject, images), label)


def contrast_cam(subject: Subject, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """CAM_y − CAM_y': its mean plus b_y − b_y' is the margin between source and target, free of `cam`'s choice of w.

    Args, returns and raises as `cam`, with target y' `(N,)`.
    """
    maps = _all_classes(subject, images)
    return _of_class(maps, label) - _of_class(maps, target)


def last_channel_cam(subject: Subject, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """An ablation, not an explanation: w_yK A_K, the last channel alone.

    This is what a loop over channels draws that assigns where it should add, as the program did that this study
    grew from. Kept to show what its pictures were worth. Args, returns and raises as `cam`.
    """
    linear = subject.gap_linear().linear
    with torch.no_grad():
        _, feature_map = subject.logits_and_maps(images)
        return linear.weight[label, -1, None, None] * feature_map[:, -1]


def _all_classes(subject: Subject, images: Tensor) -> Tensor:
    with as_in_use(subject.network):
        return explain(subject.network, subject.gap_linear(), images)[1]


def _of_class(maps: Tensor, label: Tensor) -> Tensor:
    return maps[torch.arange(len(maps), device=maps.device), label]
