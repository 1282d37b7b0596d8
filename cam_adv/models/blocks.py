"""Building blocks shared by several networks."""

import math

from torch import Tensor, nn


def conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """A 3×3 convolution that keeps the image size (divided by `stride`), batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


CHANNELS_PER_GROUP = 8
"""Channels that `GroupNorm` normalises together; fewer where their number is no multiple."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation within each image (Wu and He 2018, arXiv 1803.08494): no image depends on its batch."""
    return nn.GroupNorm(channels // math.gcd(channels, CHANNELS_PER_GROUP), channels)


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 3×3 convolution that keeps the image size, normalisation within each image, ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), group_norm(out_channels), nn.ReLU())


class PreActivationBlock(nn.Module):
    """Two 3×3 convolutions, each after normalisation within the image and SiLU, whose output is added to the input
    (He et al. 2016, arXiv 1603.05027).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *[
                layer
                for _ in range(2)
                for layer in (group_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
            ]
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.body(maps)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions whose output is added to the input (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return (maps + self.body(maps)).relu()
