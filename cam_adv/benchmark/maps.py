"""What explanations cost."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.benchmark.comparison import Comparison, compare, seconds
from cam_adv.benchmark.machine import operations
from cam_adv.benchmark.peer import peer
from cam_adv.explanation.cam import explain, find_gap_linear
from cam_adv.networks.predictions import BATCH
from cam_adv.networks.victims import GapCNN

IMAGES, CLASSES = 1000, 10
WIDTHS = [16, 32, 64]  # of the default victim
CASE = f"CAM of {CLASSES} classes, {IMAGES} images, gap_cnn"


def beside_forward(repeats: int) -> Comparison:
    """Checks included, beside the forward pass that it needs anyway."""
    network, images = _subject()

    @torch.no_grad()
    def forward() -> None:
        for part in images.split(BATCH):
            network(part)

    ours = _ours(network, images)
    work = operations(ours)
    return compare(CASE, seconds(ours), "the forward pass alone", seconds(forward), repeats, "s", 1 / 1.3, work)


def beside_torchcam(repeats: int) -> Comparison:
    """torchcam asks for one class at a time, and keeps the feature map of the pass."""
    network, images = _subject()
    with peer("torchcam"):
        from torchcam.methods import CAM

    extractor = CAM(network, target_layer="features", fc_layer="classifier")

    def theirs() -> None:
        for part in images.split(BATCH):
            network(part)
            for label in range(CLASSES):
                extractor([label] * len(part), normalized=False)

    return _line(network, images, "torchcam", theirs, repeats)


def beside_grad_cam(repeats: int) -> Comparison:
    """pytorch-grad-cam has no CAM; Grad-CAM is the same map here, but for its normalisation."""
    network, images = _subject()
    with peer("pytorch-grad-cam"):
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    extractor = GradCAM(network, [network.features[-1]])

    def theirs() -> None:
        for part in images.split(BATCH):
            for label in range(CLASSES):
                extractor(input_tensor=part, targets=[ClassifierOutputTarget(label)] * len(part))

    return _line(network.requires_grad_(True), images, "pytorch-grad-cam", theirs, repeats)


def beside_captum(repeats: int) -> Comparison:
    """captum has no CAM; its Grad-CAM without ReLU is the same map here, but for a factor."""
    network, images = _subject()
    with peer("captum"):
        from captum.attr import LayerGradCam

    extractor = LayerGradCam(network, network.features[-1])

    def theirs() -> None:
        for part in images.split(BATCH):
            for label in range(CLASSES):
                extractor.attribute(part, target=label)

    return _line(network.requires_grad_(True), images, "captum", theirs, repeats)


def _line(network: nn.Module, images: Tensor, beside: str, theirs: Callable[[], object], repeats: int) -> Comparison:
    return compare(CASE, seconds(_ours(network, images)), beside, seconds(theirs), max(2, repeats // 5), "s", 1.5)


def _subject() -> tuple[nn.Module, Tensor]:
    network = GapCNN(1, CLASSES, widths=WIDTHS).eval().requires_grad_(False)
    return network, torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def _ours(network: nn.Module, images: Tensor) -> Callable[[], None]:
    place = find_gap_linear(network, images[:8])
    assert place is not None  # the network ends in global average pooling and one linear layer

    def maps() -> None:
        for part in images.split(BATCH):
            explain(network, place, part)

    return maps
