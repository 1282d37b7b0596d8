"""A victim and an attack without training, whose answers are known: a class is a pattern, and the attack moves it.

The victim's exact CAM is at the pattern, wherever it is. Honest images have the pattern of their class in the left
half, each at its own place; the attack moves it into the right half, and the victim says y as before. So the map
must move (H1 yes), stay faithful (H2 no) and reveal the attack (H3 no). A map that stays where the pattern was is no
longer faithful (H2 yes).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL, AttackPairs, Unattacked

SIDE = 6
"""Of a pattern, in pixels; a quarter of a shorter side of the image where that is less."""

BACKGROUND = 0.75
"""Images are brightened to [0.75, 1], and a pattern is of 0.25 and 0.75, so that it is not what is brightest."""

FAINTEST = 0.9
"""Contrast of the faintest pattern, in [0, 1]; contrasts differ, so that confidences do."""

LOGIT = 6.0
"""Of the class whose pattern has full contrast."""


class PlantedCue(nn.Module):
    """Convolution with the patterns, ReLU, global average pooling and a linear layer.

    A pattern is as often +1 as −1, so that no background of a range of 0.25 reaches half of its response: what is
    above half counts, at all pixels of the pattern.
    """

    def __init__(self, patterns: Tensor, channels: int, size: tuple[int, int]) -> None:
        """
        Args:
            patterns: of ±1, half of each, `(K, s, s)`.
            channels, size: of the images.
        """
        super().__init__()
        count, side = patterns.shape[:2]
        full = side**2 / 4  # of a pattern of 0.25 and 0.75
        self.match = nn.Conv2d(channels, count, side)
        self.match.weight.data = patterns[:, None].repeat(1, channels, 1, 1) / channels
        self.match.bias = nn.Parameter(torch.full((count,), -full / 2))
        spread = nn.AvgPool2d((side, 1), stride=1), nn.AvgPool2d((1, side), stride=1)  # in rows, then in columns
        self.evidence = nn.Sequential(nn.ReLU(), nn.ZeroPad2d(side - 1), *spread)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.linear = nn.Linear(count, count)
        self.linear.weight.data = torch.eye(count) * LOGIT * size[0] * size[1] / (full / 2)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images `(N, C, H, W)` in [0, 1] to logits `(N, K)`."""
        # Black, with which pixels are deleted, counts as the middle of the backgrounds; 0.25 and more as it is.
        seen = images + (2 + 2 * BACKGROUND) * (0.25 - images).relu()
        return self.linear(self.pool(self.evidence(self.match(seen))))


def planted_pairs(
    test: LabelledImages, selection: Selection, controls: Sequence[str], num_classes: int, seed: int
) -> AttackPairs:
    """Attacked images, controls and clean images with a pattern each.

    Args:
        test: what the backgrounds are of.
        selection: of the images that are attacked, with their classes and targets.
        controls: names of the matched controls: other backgrounds with the pattern where it is on x.
        seed: of the patterns, their places and contrasts.
    """
    generator = torch.Generator().manual_seed(seed)
    backgrounds = BACKGROUND + (1 - BACKGROUND) * to_unit_range(test.images)
    channels, height, width = backgrounds.shape[1:]
    patterns = _patterns(num_classes, min(SIDE, height // 4, width // 4), generator)
    network = PlantedCue(patterns, channels, (height, width)).eval().requires_grad_(False)

    def places(count: int, left: bool) -> Tensor:
        """Rows and columns of the patterns' corners, `(count, 2)`."""
        side, half = patterns.shape[1], width // 2
        rows = torch.randint(height - side + 1, (count,), generator=generator)
        columns = torch.randint(half - side + 1, (count,), generator=generator)
        return torch.stack([rows, columns if left else columns + width - half], dim=1)

    def paste(images: Tensor, labels: Tensor, corners: Tensor) -> Tensor:
        contrast = 1 - (1 - FAINTEST) * torch.rand(len(images), generator=generator)
        shown, side = images.clone(), patterns.shape[1]
        for row, (top, left) in enumerate(corners.tolist()):
            pattern = 0.5 + 0.25 * contrast[row] * patterns[labels[row]]
            shown[row, :, top : top + side, left : left + side] = pattern
        return shown

    index, y, target = selection.index, selection.y, selection.target
    at = places(len(y), left=True)
    other = torch.ones(len(test), dtype=torch.bool).index_fill(0, index, False).nonzero().squeeze(1)

    def unattacked(rows: Tensor) -> Unattacked:
        labels = test.labels[rows]
        return Unattacked(paste(backgrounds[rows], labels, places(len(rows), left=True)), labels)

    def draw() -> Tensor:
        return other[torch.randint(len(other), (len(y),), generator=generator)]

    x = paste(backgrounds[index], y, at)
    comparisons = {ADVERSARIAL: paste(backgrounds[index], y, places(len(y), left=False))}
    comparisons |= {name: paste(backgrounds[draw()], y, at) for name in controls}
    every = torch.ones(len(y), dtype=torch.bool)
    return AttackPairs(
        seed,
        LayerTarget.with_exact_cam(network, x[:64]),
        index,
        index[:, None],
        y,
        target,
        x,
        comparisons,
        dict.fromkeys(comparisons, every),
        dict.fromkeys(comparisons, every),
        paste(backgrounds[draw()], target, places(len(y), left=True)),
        unattacked(other),
        unattacked(other),
    )


def _patterns(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Patterns of ±1 at random, as many of each, the rest 0: `(count, side, side)`."""
    values = torch.cat([torch.ones(side**2 // 2), -torch.ones(side**2 // 2), torch.zeros(side**2 % 2)])
    orders = torch.rand(count, side**2, generator=generator).argsort(dim=1)
    return values[orders].reshape(count, side, side)
