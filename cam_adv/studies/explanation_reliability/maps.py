"""Attribution maps of many images, downsampled maps, and reference maps that do not depend on the image."""

from dataclasses import dataclass
from functools import partial

import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.models.predictions import batch_size
from cam_adv.schema.attribution import AttributionSettings

COARSE_SIDE = 7
"""Largest side of downsampled maps: that of the exact CAM of a 28×28 image."""


@dataclass(frozen=True)
class AttributionMaps:
    """Of one attribution method, raw, on the CPU.

    x: of the attacked images, `(n, h, w)`. comparisons: of the images that x is compared with, by name.
    clean, other_class: of the clean images and of the real images of class y' of m matched pairs, `(m, h, w)`.
    reconstructed: of the reconstructions of clean images in pairs of their own, `(l, h, w)`.
    """

    x: Tensor
    comparisons: dict[str, Tensor]
    clean: Tensor
    other_class: Tensor
    reconstructed: Tensor


def make_maps(
    attribution: AttributionSettings,
    layer_target: LayerTarget,
    images: Tensor,
    label: Tensor,
    target: Tensor,
    device: torch.device,
) -> Tensor:
    """Raw maps `(N, h, w)`, on the CPU, of images `(N, C, H, W)` in [0, 1] for classes y and y' `(N,)`."""
    method = partial(instantiate(attribution.method), layer_target)
    size = batch_size(images[:1].numel())
    batches = zip(images.split(size), label.split(size), target.split(size), strict=True)
    return torch.cat([method(*(column.to(device) for column in batch)).detach().cpu() for batch in batches])


def downsample(maps: Tensor) -> Tensor:
    """Maps `(N, h, w)` averaged to at most 7 positions along a side; smaller ones are returned as they are."""
    height, width = maps.shape[1:]
    return adaptive_avg_pool2d(maps.unsqueeze(1), (min(height, COARSE_SIDE), min(width, COARSE_SIDE))).squeeze(1)


def mean_map(maps: Tensor, image: Tensor) -> Tensor:
    """For each row the mean map of all *other* source images, zero where there are none.

    Args:
        maps: of the attacked images, raw, `(n, h, w)`.
        image: the source image of each row, `(n,)`.

    Returns:
        `(n, h, w)`.
    """
    images, position = image.unique(return_inverse=True)
    sums = torch.zeros(len(images), *maps.shape[1:], dtype=maps.dtype).index_add_(0, position, maps)
    others = len(maps) - torch.bincount(position)[position]
    return (maps.sum(dim=0) - sums[position]) / others.clamp_min(1)[:, None, None]


def random_map(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Each map's own values at randomly permuted positions, `(n, h, w)`."""
    order = torch.rand(maps.flatten(1).shape, generator=generator).argsort(dim=1)
    return maps.flatten(1).gather(1, order).reshape(maps.shape)
