"""What explanations cost."""

import torch

from cam_adv.benchmark.comparison import Comparison, compare
from cam_adv.explanation.cam import explain, find_gap_linear
from cam_adv.networks.predictions import BATCH
from cam_adv.networks.victims import GapCNN

IMAGES = 1000
WIDTHS = [16, 32, 64]  # of the default victim


def cam_beside_forward(repeats: int) -> Comparison:
    """CAM of all ten classes for 1,000 images, checks included, beside the forward pass that it needs anyway."""
    network = GapCNN(1, 10, widths=WIDTHS).eval().requires_grad_(False)
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    place = find_gap_linear(network, images[:8])
    assert place is not None  # the network ends in global average pooling and one linear layer

    def maps() -> None:
        for part in images.split(BATCH):
            explain(network, place, part)

    @torch.no_grad()
    def forward() -> None:
        for part in images.split(BATCH):
            network(part)

    return compare(
        f"CAM of 10 classes, {IMAGES} images, gap_cnn", maps, "the forward pass alone", forward, repeats, 1.3
    )
