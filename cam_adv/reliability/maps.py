"""Maps of many pictures, and maps small enough to compare and to learn from."""

from functools import partial

import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cam_adv.explanation.subject import Subject
from cam_adv.networks.predictions import BATCH
from cam_adv.settings import ExplanationSettings

COARSE = 7
"""Positions along a side that features and transports are made of: those of the exact CAM of a 28×28 image."""


def make_maps(
    explanation: ExplanationSettings,
    subject: Subject,
    images: Tensor,
    label: Tensor,
    target: Tensor,
    device: torch.device,
) -> Tensor:
    """Raw maps `(N, h, w)`, on the CPU, of images `(N, C, H, W)` in [0, 1] for classes y and y' `(N,)`."""
    method = partial(instantiate(explanation.method), subject)
    parts = zip(images.split(BATCH), label.split(BATCH), target.split(BATCH), strict=True)
    return torch.cat([method(*(column.to(device) for column in part)).detach().cpu() for part in parts])


def coarse(maps: Tensor) -> Tensor:
    """Maps `(N, h, w)` averaged to at most 7 positions along a side; smaller ones stay as they are."""
    height, width = maps.shape[1:]
    return adaptive_avg_pool2d(maps.unsqueeze(1), (min(height, COARSE), min(width, COARSE))).squeeze(1)
