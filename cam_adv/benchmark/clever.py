"""The cost of CLEVER, an estimate of the minimal adversarial perturbation."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from cam_adv.benchmark.baseline_package import baseline_package
from cam_adv.benchmark.comparison import Comparison, compare, timed
from cam_adv.models.victims import MLP, GapCNN
from cam_adv.studies.min_perturbation.clever import clever

IMAGES = 64
BATCHES, SAMPLES = 10, 10  # 100 gradients for each image and class on both sides
RADIUS = 2.0
SHAPE_PENALTY = 0.1


def mlp_vs_art(repeats: int) -> Comparison:
    """Untargeted CLEVER of 64 images under L2, on the victim of the published attack."""
    return _compare_with_art("the published MLP", MLP(1, 10, (28, 28), hidden=128), repeats)


def gap_cnn_vs_art(repeats: int) -> Comparison:
    """The same on the default victim, for which both sides spend their time in convolutions."""
    return _compare_with_art("gap_cnn", GapCNN(1, 10, widths=[16, 32, 64]), repeats)


def _compare_with_art(name: str, network: nn.Module, repeats: int) -> Comparison:
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = network(images).argmax(dim=1)
    score = _art_score(network)
    timed_images = max(1, min(IMAGES, repeats))  # by ART, which takes minutes for all

    def ours() -> None:
        generator = torch.Generator().manual_seed(0)
        clever(network, images, y, "l2", RADIUS, BATCHES, SAMPLES, SHAPE_PENALTY, generator)

    def theirs() -> None:
        for image in images[:timed_images].numpy():
            score(image)

    return compare(
        f"CLEVER of {IMAGES} images, {name}",
        timed(ours),
        f"ART, image by image, timed on {timed_images}",
        timed(theirs, IMAGES / timed_images),
        2,
        "s",
        20.0,
    )


def _art_score(network: nn.Module) -> Callable[[np.ndarray], float]:
    """The untargeted CLEVER score of one image `(1, 28, 28)` by the Adversarial Robustness Toolbox."""
    with baseline_package("The Adversarial Robustness Toolbox"):
        from art.estimators.classification import PyTorchClassifier
        from art.metrics import clever_u
    victim = PyTorchClassifier(network, nn.CrossEntropyLoss(), (1, 28, 28), 10, device_type="cpu")
    return lambda image: clever_u(victim, image, BATCHES, SAMPLES, RADIUS, 2, verbose=False)
