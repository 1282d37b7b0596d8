"""What a map does when the picture changes, but not by the attack.

Each control makes for every attacked image x a second picture, as the attack makes x'; pairs (x, x') and (x, control)
are then compared. `conf/control/` names them. Those that are matched go as far as the attack and leave the class as
it is; the others say what the parts of the attack do: the generator alone, the change of class without the victim's
say, what a real picture of the other class looks like, and no picture at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.networks.svae import SVAE
from cam_adv.settings import LatentAttackSettings

BISECTIONS = 50
"""Halvings of the interval in which the noise's scale lies: beyond the precision of float32."""


@dataclass(frozen=True)
class Attacked:
    """The successes of one attack, and what controls are made of; all but the generator on the CPU.

    index: which test image each x is, `(n,)`. y, target: labels `(n,)`.
    x, x_adv: `(n, C, H, W)` in [0, 1]. z0, z: codes `(n, D)`.
    transition: where the same walk ends without the victim's say, `(n, C, H, W)`.
    real, real_index: the test images that the victim classifies correctly, and which they are, `(M,)`.
    seed: of the random controls.
    """

    index: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    x_adv: Tensor
    z0: Tensor
    z: Tensor
    transition: Tensor
    generator: SVAE
    real: LabelledImages
    real_index: Tensor
    seed: int

    @property
    def distance(self) -> Tensor:
        """‖x' − x‖₂, `(n,)`."""
        return (self.x_adv - self.x).flatten(1).norm(dim=1)

    @property
    def device(self) -> torch.device:
        """Where the generator draws."""
        return next(self.generator.parameters()).device

    def draws(self) -> torch.Generator:
        """A generator of its own for each control, so that none depends on which others are made."""
        return torch.Generator().manual_seed(self.seed)


Control = Callable[[Attacked], Tensor]
"""Makes the second pictures, `(n, C, H, W)` in [0, 1], on the CPU."""


def reconstruction(attacked: Attacked) -> Tensor:
    """G(mu(x)): the generator's own doing."""
    return in_batches(attacked.generator.reconstruct, attacked.x, attacked.device)


def latent_walk(attacked: Attacked) -> Tensor:
    """G(z0 + ‖z − z0‖·u), u uniform on the sphere: as far from z0 as the attack went, anywhere."""
    direction = torch.randn(attacked.z0.shape, generator=attacked.draws()).to(attacked.z0)
    length = (attacked.z - attacked.z0).norm(dim=1, keepdim=True)
    codes = attacked.z0 + length * direction / direction.norm(dim=1, keepdim=True)
    return in_batches(attacked.generator.generate, codes, attacked.device)


def pixel_noise(attacked: Attacked) -> Tensor:
    """x under Gaussian noise whose scale is such that, clipped to [0, 1], it is ‖x' − x‖₂ away.

    Clipping takes from the noise, so the scale is found by bisection: the distance grows with it. One that no scale
    reaches (noise can move a pixel to an end of [0, 1] and no further) is approached as far as it can be.
    """
    noise = torch.randn(attacked.x.shape, generator=attacked.draws(), dtype=torch.float64)
    start, wanted = attacked.x.double(), attacked.distance.double()

    def noisy(scale: Tensor) -> Tensor:
        return (start + scale[:, None, None, None] * noise).clamp(0, 1)

    low = torch.zeros_like(wanted)
    high = 1 / noise.abs().flatten(1).amin(dim=1)  # moves every pixel as far as it goes
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_near = (noisy(middle) - start).flatten(1).norm(dim=1) < wanted
        low, high = torch.where(too_near, middle, low), torch.where(too_near, high, middle)
    return noisy(high).to(attacked.x)


def transition(attacked: Attacked) -> Tensor:
    """Where the attack's walk ends without the victim's say: the picture becomes y', and the victim goes with it."""
    return attacked.transition


def real_pair(attacked: Attacked) -> Tensor:
    """The real image of class y whose distance to x is nearest to ‖x' − x‖₂."""
    return _real_at_distance(attacked, attacked.y)


def real_target(attacked: Attacked) -> Tensor:
    """The real image of class y' whose distance to x is nearest to ‖x' − x‖₂."""
    return _real_at_distance(attacked, attacked.target)


def blank_image(attacked: Attacked) -> Tensor:
    """Black: what a map shows when there is nothing to see."""
    return torch.zeros_like(attacked.x)


def _real_at_distance(attacked: Attacked, label: Tensor) -> Tensor:
    """
    Raises:
        UserError: there is no other real image of a class.
    """
    pool = unit(attacked.real.images)
    away = torch.cdist(attacked.x.flatten(1), pool.flatten(1))
    itself = attacked.index[:, None] == attacked.real_index
    unfit = (label[:, None] != attacked.real.labels) | itself
    if unfit.all(dim=1).any():
        raise UserError(
            f"The victim classifies no other test image of class {int(label[unfit.all(dim=1)][0])} correctly: an "
            "attacked image has no real one to be compared with.",
            "Use a better victim, or more test images.",
        )
    return pool[(away - attacked.distance[:, None]).abs().masked_fill(unfit, torch.inf).argmin(dim=1)]


def without_victim(attack: LatentAttackSettings) -> LatentAttackSettings:
    """The same attack with the victim's multiplier held at 0: the picture becomes y', and the victim goes with it."""
    silent = {
        "_target_": "cam_adv.attack.multiplier.DualAscent",
        "start": 0.0,
        "rate": 0.0,
        "gain": 0.0,
        "confidence": attack.confidence,
        "surplus": 0.0,
        "cap": 0.0,
    }
    # There is nothing to keep, so the walk ends where it ends; and only mu(x) is a start that asks no victim.
    return attack.model_copy(update={"multiplier": silent, "keep_best": False, "starts": ["mean"]})
