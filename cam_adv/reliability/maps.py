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


def mean_map(maps: Tensor, image: Tensor) -> Tensor:
    """For each image the mean map of all *other* images, zero where there are none: it knows nothing of its picture.

    Args:
        maps: of the attacked images, raw, `(n, h, w)`.
        image: which source image each is of, `(n,)`.

    Returns:
        `(n, h, w)`.
    """
    images, position = image.unique(return_inverse=True)
    sums = torch.zeros(len(images), *maps.shape[1:], dtype=maps.dtype).index_add_(0, position, maps)
    others = len(maps) - torch.bincount(position)[position]
    return (maps.sum(dim=0) - sums[position]) / others.clamp_min(1)[:, None, None]


def random_map(maps: Tensor, draws: torch.Generator) -> Tensor:
    """Each map's own values at positions in an order drawn by chance, `(n, h, w)`."""
    order = torch.rand(maps.flatten(1).shape, generator=draws).argsort(dim=1)
    return maps.flatten(1).gather(1, order).reshape(maps.shape)
