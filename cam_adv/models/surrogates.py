"""Small surrogate classifiers, which stand for human perception in the objective of the attack.

Each maps images `(N, C, H, W)` in [0, 1] to logits `(N, K)`. Their architectures differ from those of the judges.
"""

import torch
from torch import Tensor, nn

from cam_adv.models.blocks import conv_bn_relu
from cam_adv.models.generators.base import Generator


class GeneratorClassifier(nn.Module):
    """The generator's classifier of images, f2(mu(x)): a code z that changes f2(z) but not the image fails here."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        return self.generator.classify(images)


class DenselyConnected(nn.Module):
    """A strided convolution, then four densely connected ones (Huang et al. 2017) at half the image size."""

    LAYERS = 4

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int], width: int) -> None:
        """`width`: number of channels that each convolution adds."""
        super().__init__()
        self.stem = conv_bn_relu(in_channels, width, stride=2)
        self.layers = nn.ModuleList(conv_bn_relu(width * (1 + number), width) for number in range(self.LAYERS))
        channels = width * (1 + self.LAYERS)
        self.narrow = nn.Sequential(nn.Conv2d(channels, 3 * width, 2, stride=2), nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            flat = self.narrow(torch.zeros(1, channels, -(-image_size[0] // 2), -(-image_size[1] // 2))).shape[1]
        self.classifier = nn.Linear(flat, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for layer in self.layers:
            features = torch.cat([features, layer(features)], dim=1)
        return self.classifier(self.narrow(features))


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
