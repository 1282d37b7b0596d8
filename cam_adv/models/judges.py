"""Architectures of the judge's members: none is shared with a victim or a surrogate.

Each maps images `(N, C, H, W)` in [0, 1] to logits `(N, K)`. All combine features of the whole image in a dense
layer, whereas the default victim averages local features.
"""

from itertools import pairwise

import torch
from torch import nn

from cam_adv.models.blocks import ResidualBlock, conv_bn_relu


def _with_head(features: nn.Sequential, in_channels: int, image_size: tuple[int, int], *head: int) -> nn.Sequential:
    """Features, flattened, and dense layers of the sizes `head` with ELU between them."""
    with torch.no_grad():
        flat = features.eval()(torch.zeros(1, in_channels, *image_size)).numel()
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((flat, *head)):
        layers += [nn.Linear(inputs, outputs), nn.ELU()]
    return nn.Sequential(features, *layers[:-1])


def plain_judge(in_channels: int, num_classes: int, image_size: tuple[int, int], width: int) -> nn.Sequential:
    """Four 3×3 convolutions and three poolings, as in VGG (Simonyan and Zisserman 2015), one hidden layer."""
    features = nn.Sequential(
        conv_bn_relu(in_channels, width),
        nn.MaxPool2d(2),
        conv_bn_relu(width, 2 * width),
        conv_bn_relu(2 * width, 2 * width),
        nn.MaxPool2d(2),
        conv_bn_relu(2 * width, 4 * width),
        nn.MaxPool2d(2),
    )
    return _with_head(features, in_channels, image_size, 128, num_classes)


def residual_judge(in_channels: int, num_classes: int, image_size: tuple[int, int], width: int) -> nn.Sequential:
    """Two strided convolutions, each with a residual block, flattened into one linear layer."""
    features = nn.Sequential(
        conv_bn_relu(in_channels, width, stride=2),
        ResidualBlock(width),
        conv_bn_relu(width, 2 * width, stride=2),
        ResidualBlock(2 * width),
    )
    return _with_head(features, in_channels, image_size, num_classes)


def wide_kernel_judge(in_channels: int, num_classes: int, image_size: tuple[int, int], width: int) -> nn.Sequential:
    """A 7×7 and a 5×5 convolution with average pooling, one hidden layer."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, width, 7, padding=3),
        nn.ELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(width, 3 * width, 5, padding=2),
        nn.BatchNorm2d(3 * width),
        nn.ELU(),
        nn.AvgPool2d(2),
    )
    return _with_head(features, in_channels, image_size, 160, num_classes)
