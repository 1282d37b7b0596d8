"""A latent attack on networks with random weights, small enough for a test."""

from functools import cache
from typing import Any

import torch
from conftest import compose
from omegaconf import OmegaConf
from torch import Tensor, nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.data.splits import LabelledImages
from cam_adv.models.generators.base import Generator
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.victims import GapCNN, LeNet
from cam_adv.schema.component import make_component

Y, TARGET = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])


@cache
def shipped_values(name: str) -> Any:
    """The values of `conf/attack/<name>.yaml`."""
    return OmegaConf.to_container(compose([f"attack={name}"]).attack, resolve=True)


def make_attack(name: str = "type1", **changes: Any) -> LatentAttack:
    """A shipped attack with 12 steps, of which 4 are recorded, and with these changes."""
    return make_component(LatentAttack, {**shipped_values(name), "steps": 12, "trace_points": 4, **changes})


def networks(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, SVAE, list[nn.Module]]:
    """A victim, a generator and two surrogates of 4 classes, in training mode on purpose."""
    torch.manual_seed(0)
    victim = GapCNN(1, 4, (4, 4, 8)).to(dtype)
    generator = SVAE(1, 4, (28, 28), latent_size=5, width=4, hidden=16).to(dtype)
    return victim, generator, [LeNet(1, 4, (28, 28)).to(dtype), LeNet(1, 4, (28, 28)).to(dtype)]


def real_images(dtype: torch.dtype = torch.float64) -> LabelledImages:
    """40 images to start from, of which number i has the label i % 4."""
    return _labelled_images(3, dtype)


def train_images(dtype: torch.dtype = torch.float64) -> LabelledImages:
    """40 others, as if the generator were trained on them."""
    return _labelled_images(4, dtype)


def _labelled_images(seed: int, dtype: torch.dtype) -> LabelledImages:
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    return LabelledImages(images.to(dtype), torch.arange(4).repeat(10))


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    """Five images, for the labels `Y` and the targets `TARGET`."""
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1)).to(dtype)


def interpretation(generator: Generator, dtype: torch.dtype = torch.float64) -> RobustInterpretation:
    """A robust interpretation by two other victims."""
    torch.manual_seed(5)
    victims = [GapCNN(1, 4, (4, 4, 8)).to(dtype).eval() for _ in range(2)]
    made = RobustInterpretation(victims, generator, images(dtype), samples=2, spread=1.0, level=0.1, seed=0)
    return made.fit(real_images(dtype))


def bind(attack: LatentAttack, dtype: torch.dtype = torch.float64, seed: int = 0) -> BoundAttack:
    """The attack with these networks and images."""
    victim, generator, surrogates = networks(dtype)
    known = None if attack.interpretation is None else interpretation(generator, dtype)
    models = AttackModels(victim, generator, surrogates, real_images(dtype), train_images(dtype), known)
    return BoundAttack(attack, models, seed)
