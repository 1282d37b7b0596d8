"""A small encoder for generators that have none."""

import torch
from torch import Tensor, nn

COARSEST = 8
"""Largest side of the last feature map; the image is halved until it has it."""

WIDEST = 4
"""Largest number of channels, in units of those of the first layer."""


class StridedEncoder(nn.Module):
    """Strided convolutions with SiLU that halve the image, then two dense layers."""

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], out_features: int, width: int, hidden: int
    ) -> None:
        """
        Args:
            out_features: numbers that are predicted of each image.
            width: channels of the first convolution; they double at each further one, up to `WIDEST` times.
            hidden: units of the dense layer.
        """
        super().__init__()
        layers: list[nn.Module] = []
        side, channels, factor = max(image_size), in_channels, 1
        while side > COARSEST or not layers:
            layers += [nn.Conv2d(channels, factor * width, 4, stride=2, padding=1), nn.SiLU()]
            side, channels, factor = side // 2, factor * width, min(2 * factor, WIDEST)
        self.features = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.features(torch.zeros(1, in_channels, *image_size)).shape[1]
        self.head = nn.Sequential(nn.Linear(flat, hidden), nn.SiLU(), nn.Linear(hidden, out_features))

    def forward(self, images: Tensor) -> Tensor:
        """Images `(N, C, H, W)` in [0, 1] to `(N, out_features)`."""
        numbers: Tensor = self.head(self.features(images))
        return numbers
