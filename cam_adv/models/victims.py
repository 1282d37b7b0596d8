"""Architectures of the victim: each maps images `(N, C, H, W)` in [0, 1] to logits `(N, K)`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cam_adv.models.blocks import conv_bn_relu


class GapCNN(nn.Module):
    """3×3 convolutions at three sizes, global average pooling and one linear layer: a network whose CAM is exact.

    Two poolings: 28×28 images give 7×7 feature maps, non-negative, with a receptive field of 18×18 pixels for one
    convolution at each size.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int], convolutions: int = 1) -> None:
        """
        Args:
            widths: numbers of channels at full, half and quarter size.
            convolutions: their number at each size.
        """
        super().__init__()
        full, half, quarter = widths

        def convolve(before: int, after: int) -> list[nn.Sequential]:
            return [conv_bn_relu(before, after), *(conv_bn_relu(after, after) for _ in range(convolutions - 1))]

        self.features = nn.Sequential(
            *convolve(in_channels, full),
            nn.MaxPool2d(2),
            *convolve(full, half),
            nn.MaxPool2d(2),
            *convolve(half, quarter),
        )
        self.classifier = nn.Linear(quarter, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))


class TinyGapCNN(nn.Module):
    """The victim of the study that preceded this project: two 2×2 convolutions, average pooling, dense."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 32, 2, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 2, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))


class MLP(nn.Sequential):
    """One hidden layer of ReLU units: 784-128-10, the published victim (Tang et al. 2019)."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int], hidden: int) -> None:
        inputs = in_channels * image_size[0] * image_size[1]
        super().__init__(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


class LeNet(nn.Sequential):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        flat = features(torch.zeros(1, in_channels, *image_size)).shape[1]
        super().__init__(
            features,
            nn.Linear(flat, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )


def small_image_resnet18(in_channels: int, num_classes: int) -> nn.Module:
    """torchvision's ResNet-18, untrained, adapted to small images: 3×3 first convolution of stride 1, no max pooling.

    28×28 images give 4×4 feature maps.
    """
    network = resnet18(num_classes=num_classes)
    network.conv1 = nn.Conv2d(in_channels, 64, 3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network
