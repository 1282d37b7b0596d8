"""CLEVER scores of a small network by the Adversarial Robustness Toolbox (ART): writes `reference_clever.json`.

    pip install 'adversarial-robustness-toolbox==1.20.1'
    python tests/studies/min_perturbation/reference_clever.py

ART draws from NumPy's global random state and fits by SciPy's simplex search. The scores are therefore recorded for
several seeds; their differences are the sampling error.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FILE = Path(__file__).with_suffix(".json")
RADII = {"l1": 8.0, "l2": 1.0, "linf": 0.2}
ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}
IMAGES, SIDE, HIDDEN, CLASSES = 20, 8, 48, 4
GAIN = 1.5
BATCHES, SAMPLES, POOL = 50, 64, 10  # ART draws its batches from one pool of 10·64 gradients
SEEDS = 8


def network() -> nn.Module:
    """Two hidden layers of tanh units with random weights: its gradients differ from point to point."""
    layers = (
        nn.Linear(SIDE * SIDE, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, CLASSES),
    )
    made = nn.Sequential(nn.Flatten(), *layers)
    draw = np.random.default_rng(0)
    with torch.no_grad():
        for values in made.parameters():
            values.copy_(torch.from_numpy(GAIN * draw.normal(size=tuple(values.shape)) / values.shape[-1] ** 0.5))
    return made.eval().requires_grad_(False)


def images() -> Tensor:
    """`(20, 1, 8, 8)` in [0, 1]."""
    return torch.from_numpy(np.random.default_rng(1).random((IMAGES, 1, SIDE, SIDE), dtype=np.float32))


def main() -> None:
    """Compute ART's untargeted score for each norm, seed and image."""
    from art.estimators.classification import PyTorchClassifier
    from art.metrics import clever_u

    x, made = images(), network()
    victim = PyTorchClassifier(made, nn.CrossEntropyLoss(), (1, SIDE, SIDE), CLASSES, device_type="cpu")
    content = {"logits": [[float(f"{value:.5g}") for value in row] for row in made(x).tolist()], "scores": {}}
    for norm, radius in RADII.items():
        content["scores"][norm] = []
        for seed in range(SEEDS):
            np.random.seed(seed)  # noqa: NPY002 — ART draws from it
            scores = [
                clever_u(victim, image, BATCHES, SAMPLES, radius, ORDERS[norm], pool_factor=POOL, verbose=False)
                for image in x.numpy()
            ]
            content["scores"][norm].append([float(f"{score:.5g}") for score in scores])
            print(norm, seed, content["scores"][norm][-1][:4], flush=True)
    FILE.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
