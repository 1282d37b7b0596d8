"""Control images: how a map changes when the image changes, but not by the attack.

Each control makes a second image for every attacked image x, as the attack makes x'; the pairs (x, x') and
(x, control) are then compared. `conf/control/` lists the controls. Matched controls are as far from x as the attack
and keep the class. The others isolate one part of the attack each: the generator alone, the change of class without
the victim's constraint, a real image of the other class, and an image without content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

BISECTION_STEPS = 50
"""For the scale of the noise: beyond the precision of float32."""


@dataclass(frozen=True)
class AttackedImages:
    """The successes of one attack, and what controls are made from; all but the generator on the CPU.

    index: which test image each x is, `(n,)`. y, target: labels `(n,)`.
    x, x_adv: `(n, C, H, W)` in [0, 1]. z0, z: codes `(n, D)`.
    transition: result of the same attack without the victim's constraint, `(n, C, H, W)`.
    real, real_index: the test images that the victim classifies correctly, and which they are, `(M,)`.
    class_names: for messages. seed: of the random controls.
    """

    index: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    x_adv: Tensor
    z0: Tensor
    z: Tensor
    transition: Tensor
    generator: Generator
    real: LabelledImages
    real_index: Tensor
    class_names: Sequence[str]
    seed: int

    @property
    def distance(self) -> Tensor:
        """‖x' − x‖₂, `(n,)`."""
        return (self.x_adv - self.x).flatten(1).norm(dim=1)

    @property
    def device(self) -> torch.device:
        """Of the generator."""
        return next(self.generator.parameters()).device

    def random_generator(self) -> torch.Generator:
        """A new one for each control, so that no control depends on which others are made."""
        return torch.Generator().manual_seed(self.seed)


Control = Callable[[AttackedImages], Tensor]
"""Makes the second images, `(n, C, H, W)` in [0, 1], on the CPU."""


def reconstruction(attacked: AttackedImages) -> Tensor:
    """G(mu(x)): the effect of the generator alone."""
    return batched_apply(attacked.generator.reconstruct, attacked.x, attacked.device)


def random_latent_perturbation(attacked: AttackedImages) -> Tensor:
    """G(z0 + ‖z − z0‖·u), u uniform on the sphere: the attack's latent distance in a random direction."""
    direction = torch.randn(attacked.z0.shape, generator=attacked.random_generator()).to(attacked.z0)
    distance = (attacked.z - attacked.z0).norm(dim=1, keepdim=True)
    codes = attacked.z0 + distance * direction / direction.norm(dim=1, keepdim=True)
    return batched_apply(attacked.generator.decode, codes, attacked.device)


def pixel_noise(attacked: AttackedImages) -> Tensor:
    """x plus Gaussian noise, scaled such that after clipping to [0, 1] the distance to x is ‖x' − x‖₂.

    Clipping shortens the noise, so the scale is found by bisection: the distance grows with the scale. A distance
    that no scale reaches, because every pixel is clipped, is approximated by the largest one.
    """
    noise = torch.randn(attacked.x.shape, generator=attacked.random_generator(), dtype=torch.float64)
    x, distance = attacked.x.double(), attacked.distance.double()

    def noisy(scale: Tensor) -> Tensor:
        return (x + scale[:, None, None, None] * noise).clamp(0, 1)

    low = torch.zeros_like(distance)
    high = 1 / noise.abs().flatten(1).amin(dim=1)  # moves every pixel to an end of [0, 1]
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        too_near = (noisy(middle) - x).flatten(1).norm(dim=1) < distance
        low, high = torch.where(too_near, middle, low), torch.where(too_near, high, middle)
    return noisy(high).to(attacked.x)


def transition(attacked: AttackedImages) -> Tensor:
    """Result of the attack without the victim's constraint: the image becomes y', and the victim predicts y'."""
    return attacked.transition


def real_pair(attacked: AttackedImages) -> Tensor:
    """The real image of class y whose distance to x is nearest to ‖x' − x‖₂."""
    return _real_at_distance(attacked, attacked.y)


def real_target(attacked: AttackedImages) -> Tensor:
    """The real image of class y' whose distance to x is nearest to ‖x' − x‖₂."""
    return _real_at_distance(attacked, attacked.target)


def blank_image(attacked: AttackedImages) -> Tensor:
    """All black: the map of an image without content."""
    return torch.zeros_like(attacked.x)


def _real_at_distance(attacked: AttackedImages, label: Tensor) -> Tensor:
    """
    Raises:
        UserError: there is no other real image of a class.
    """
    pool = to_unit_range(attacked.real.images)
    distance = torch.cdist(attacked.x.flatten(1), pool.flatten(1))
    is_itself = attacked.index[:, None] == attacked.real_index
    excluded = (label[:, None] != attacked.real.labels) | is_itself
    if excluded.all(dim=1).any():
        missing = attacked.class_names[int(label[excluded.all(dim=1)][0])]
        raise UserError(
            f"The victim classifies no other test image of class {missing} correctly: an "
            "attacked image has no real one to be compared with.",
            "Use a better victim, or more test images.",
        )
    return pool[(distance - attacked.distance[:, None]).abs().masked_fill(excluded, torch.inf).argmin(dim=1)]


def without_victim(attack: LatentAttack) -> LatentAttack:
    """The same attack with the victim's multiplier k fixed at 0: the image becomes y', and the victim predicts y'."""
    no_penalty = {
        "_target_": "cam_adv.attacks.latent.penalty.DualAscent",
        "start": 0.0,
        "rate": 0.0,
        "proportional_gain": 0.0,
        "confidence": attack.confidence,
        "target_margin": 0.0,
        "cap": 0.0,
    }
    # Without a constraint there is no best iterate to keep, and mu(x) is the only initialisation without the victim.
    return attack.model_copy(update={"penalty": no_penalty, "keep_best": False, "init": ["mean"]})
