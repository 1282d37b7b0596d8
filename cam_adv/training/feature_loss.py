"""The distance of an image and its reconstruction in the features of a small classifier."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.models.blocks import conv_norm_relu


class FeatureLoss(nn.Module):
    """A perceptual loss (Johnson et al. 2016, arXiv 1603.08155) whose classifier is trained beside the generator.

    It keeps edges sharp, which a sum over pixels does not. Nothing else uses this classifier: two 3×3 convolutions at
    each of three sizes, global average pooling and one linear layer.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        """`width`: channels at full size; twice as many at half of it, four times as many at a quarter."""
        super().__init__()
        widths = [in_channels, width, 2 * width, 4 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(conv_norm_relu(before, after), conv_norm_relu(after, after))
            for before, after in pairwise(widths)
        )
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor, decoded: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            images, decoded: training images and their reconstructions, `(N, C, H, W)` in [0, 1].
            labels: `(N,)`.

        Returns:
            The distance of each image's features, which has no gradient for the classifier, and the classifier's loss
            on the training images, which has none for the reconstructions: each `(N,)`.
        """
        features = self.features(images)
        logits = self.classifier(features[-1].mean(dim=(2, 3)))
        self.requires_grad_(False)
        distance = feature_distance([part.detach() for part in features], self.features(decoded))
        self.requires_grad_(True)
        return distance, functional.cross_entropy(logits, labels, reduction="none")

    def features(self, images: Tensor) -> list[Tensor]:
        """The features at each size, `(N, C, h, w)`."""
        features: list[Tensor] = []
        for stage in self.stages:
            images = stage(functional.max_pool2d(images, 2) if features else images)
            features.append(images)
        return features


def feature_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Squared distance of features that are normalised at each position (Zhang et al. 2018, arXiv 1801.03924).

    Args:
        first, second: of each layer, `(N, C, h, w)`.

    Returns:
        `(N,)`, between 0 and 4 for each layer: the average over positions, summed over layers.
    """
    layers = [
        (functional.normalize(one, dim=1) - functional.normalize(other, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
        for one, other in zip(first, second, strict=True)
    ]
    return torch.stack(layers).sum(dim=0)
