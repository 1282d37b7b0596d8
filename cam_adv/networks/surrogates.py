"""Small classifiers that stand in for a person in the attack's objective.

Each maps images `(N, C, H, W)` in [0, 1] to logits `(N, K)`; cheap, and of other architectures than the judges.
"""

import torch
from torch import Tensor, nn

from cam_adv.networks.svae import SVAE


class ReadBack(nn.Module):
    """The generator's own reading of a picture, f2(mu(x)): a walk that fools f2 at z alone fails here."""

    def __init__(self, generator: SVAE) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        return self.generator.read(images)


def strided_surrogate(in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Sequential:
    """Three strided convolutions with SiLU, flattened into one linear layer."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 24, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(24, 48, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(48, 64, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
    )
    flat = features(torch.zeros(1, in_channels, *image_size)).shape[1]
    return nn.Sequential(features, nn.Linear(flat, num_classes))
