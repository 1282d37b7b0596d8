"""What an estimate of the least perturbation costs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from cam_adv.benchmark.comparison import Comparison, compare, seconds
from cam_adv.benchmark.peer import peer
from cam_adv.bound.clever import clever
from cam_adv.networks.victims import MLP, GapCNN

IMAGES = 64
BATCHES, SAMPLES = 10, 10  # 100 gradients for each image and class on both sides
RADIUS = 2.0
SHAPE_PENALTY = 0.1


def of_mlp(repeats: int) -> Comparison:
    """Untargeted CLEVER of 64 images under L2, on the network of the published attack."""
    return _beside_art("the published MLP", MLP(1, 10, (28, 28), hidden=128), repeats)


def of_gap_cnn(repeats: int) -> Comparison:
    """The same on the default victim, where both sides spend their time in convolutions."""
    return _beside_art("gap_cnn", GapCNN(1, 10, widths=[16, 32, 64]), repeats)


def _beside_art(name: str, network: nn.Module, repeats: int) -> Comparison:
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = network(images).argmax(dim=1)
    score = _score_of_art(network)
    few = max(1, min(IMAGES, repeats))  # of ART's, which take minutes for all

    def ours() -> None:
        generator = torch.Generator().manual_seed(0)
        clever(network, images, y, "l2", RADIUS, BATCHES, SAMPLES, SHAPE_PENALTY, generator)

    def theirs() -> None:
        for image in images[:few].numpy():
            score(image)

    beside = f"ART, image by image, timed on {few}"
    return compare(
        f"CLEVER of {IMAGES} images, {name}", seconds(ours), beside, seconds(theirs, IMAGES / few), 2, "s", 20.0
    )


def _score_of_art(network: nn.Module) -> Callable[[np.ndarray], float]:
    """The untargeted score of one image `(1, 28, 28)` by the Adversarial Robustness Toolbox."""
    with peer("The Adversarial Robustness Toolbox"):
        from art.estimators.classification import PyTorchClassifier
        from art.metrics import clever_u
    victim = PyTorchClassifier(network, nn.CrossEntropyLoss(), (1, 28, 28), 10, device_type="cpu")
    return lambda image: clever_u(victim, image, BATCHES, SAMPLES, RADIUS, 2, verbose=False)
