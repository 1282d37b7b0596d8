"""The cost of class activation maps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.attributions.cam import checked_cams, find_cam_head
from cam_adv.benchmark.baseline_package import baseline_package
from cam_adv.benchmark.comparison import Comparison, compare, timed
from cam_adv.benchmark.machine import count_flops
from cam_adv.models.predictions import BATCH
from cam_adv.models.victims import GapCNN

IMAGES, CLASSES = 1000, 10
WIDTHS = [16, 32, 64]  # of the default victim
CASE = f"CAM of {CLASSES} classes, {IMAGES} images, gap_cnn"


def vs_forward_pass(repeats: int) -> Comparison:
    """With all checks, compared with the forward pass that it contains."""
    network, images = _network_and_images()

    @torch.no_grad()
    def forward() -> None:
        for batch in images.split(BATCH):
            network(batch)

    ours = _ours(network, images)
    flops = count_flops(ours)
    return compare(CASE, timed(ours), "the forward pass alone", timed(forward), repeats, "s", 1 / 1.3, flops)


def vs_torchcam(repeats: int) -> Comparison:
    """torchcam computes the map of one class per call, from the feature map that it keeps of the forward pass."""
    network, images = _network_and_images()
    with baseline_package("torchcam"):
        from torchcam.methods import CAM

    extractor = CAM(network, target_layer="features", fc_layer="classifier")

    def theirs() -> None:
        for batch in images.split(BATCH):
            network(batch)
            for label in range(CLASSES):
                extractor([label] * len(batch), normalized=False)

    return _compare(network, images, "torchcam", theirs, repeats)


def vs_grad_cam(repeats: int) -> Comparison:
    """pytorch-grad-cam has no CAM; its Grad-CAM is the same map here up to normalisation."""
    network, images = _network_and_images()
    with baseline_package("pytorch-grad-cam"):
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    extractor = GradCAM(network, [network.features[-1]])

    def theirs() -> None:
        for batch in images.split(BATCH):
            for label in range(CLASSES):
                extractor(input_tensor=batch, targets=[ClassifierOutputTarget(label)] * len(batch))

    return _compare(network.requires_grad_(True), images, "pytorch-grad-cam", theirs, repeats)


def vs_captum(repeats: int) -> Comparison:
    """captum has no CAM; its Grad-CAM without ReLU is the same map here up to a factor."""
    network, images = _network_and_images()
    with baseline_package("captum"):
        from captum.attr import LayerGradCam

    extractor = LayerGradCam(network, network.features[-1])

    def theirs() -> None:
        for batch in images.split(BATCH):
            for label in range(CLASSES):
                extractor.attribute(batch, target=label)

    return _compare(network.requires_grad_(True), images, "captum", theirs, repeats)


def _compare(
    network: nn.Module, images: Tensor, baseline: str, theirs: Callable[[], object], repeats: int
) -> Comparison:
    return compare(CASE, timed(_ours(network, images)), baseline, timed(theirs), max(2, repeats // 5), "s", 1.5)


def _network_and_images() -> tuple[GapCNN, Tensor]:
    network = GapCNN(1, CLASSES, widths=WIDTHS).eval().requires_grad_(False)
    return network, torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def _ours(network: nn.Module, images: Tensor) -> Callable[[], None]:
    head = find_cam_head(network, images[:8])
    assert head is not None  # the network ends in global average pooling and one linear layer

    def maps() -> None:
        for batch in images.split(BATCH):
            checked_cams(network, head, batch)

    return maps
