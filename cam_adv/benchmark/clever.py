"""What an estimate of the least perturbation costs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from cam_adv.benchmark.comparison import Comparison, compare
from cam_adv.bound.clever import clever
from cam_adv.errors import UserError
from cam_adv.networks.victims import MLP, GapCNN

IMAGES = 64
BATCHES, SAMPLES = 10, 10  # 100 gradients for each image and class on both sides
RADIUS = 2.0
SHAPE_PENALTY = 0.1
ROUNDS = 2  # of minutes each


def clever_of_mlp(_: int) -> Comparison:
    """Untargeted CLEVER of 64 images under L2, on the network of the published attack."""
    network = MLP(1, 10, (28, 28), hidden=128)
    return _beside_art("mlp", network, 0.05)


def clever_of_gap_cnn(_: int) -> Comparison:
    """The same on the default victim, where both sides spend their time in convolutions.

    Its limit says what sharing can save at most: a forward and 9 backward passes instead of 18 and 18.
    """
    return _beside_art("gap_cnn", GapCNN(1, 10, widths=[16, 32, 64]), 0.25)


def _beside_art(name: str, network: nn.Module, limit: float) -> Comparison:
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = network(images).argmax(dim=1)
    score = _score_of_art(network)

    def ours() -> None:
        generator = torch.Generator().manual_seed(0)
        clever(network, images, y, "l2", RADIUS, BATCHES, SAMPLES, SHAPE_PENALTY, generator)

    def theirs() -> None:
        for image in images.numpy():
            score(image)

    return compare(f"CLEVER of {IMAGES} images, {name}", ours, "ART, image by image", theirs, ROUNDS, limit)


def _score_of_art(network: nn.Module) -> Callable[[np.ndarray], float]:
    """The untargeted score of one image `(1, 28, 28)` by the Adversarial Robustness Toolbox.

    Raises:
        UserError: it isn't installed.
    """
    try:
        from art.estimators.classification import PyTorchClassifier
        from art.metrics import clever_u
    except ImportError as error:
        raise UserError(
            "CLEVER stands beside nothing: the Adversarial Robustness Toolbox is not installed.",
            "Install it with pip install 'cam-adv[benchmark]'.",
        ) from error
    victim = PyTorchClassifier(network, nn.CrossEntropyLoss(), (1, 28, 28), 10, device_type="cpu")
    return lambda image: clever_u(victim, image, BATCHES, SAMPLES, RADIUS, 2, verbose=False)
