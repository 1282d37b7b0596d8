"""What a map does when the picture changes, but not by the attack.

Each control makes for every attacked image x a second picture, as the attack makes x'; pairs (x, x') and (x, control)
are then compared. Three are matched to the attack in how far they go, and leave the class as it is: `real_pair`,
`latent_walk` and `pixel_noise`. The others say what the parts of the attack do: the generator alone
(`reconstruction`), the change of class without the victim's say (the attack's walk as `without_victim` has it), and
what a real picture of the other class looks like (`real_target`).

Images are `(N, C, H, W)` in [0, 1], and so is every answer.
"""

import torch
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.networks.svae import SVAE
from cam_adv.settings import AttackSettings

MATCHED = ("real_pair", "latent_walk", "pixel_noise")
"""The controls that the attack has to exceed, each of them, before a map counts as unstable."""

BISECTIONS = 50
"""Halvings of the interval in which the noise's scale lies: beyond the precision of float32."""


@torch.no_grad()
def reconstruction(generator: SVAE, x: Tensor) -> Tensor:
    """G(mu(x)): the generator's own doing."""
    return generator.reconstruct(x)


@torch.no_grad()
def latent_walk(generator: SVAE, z0: Tensor, length: Tensor, draws: torch.Generator) -> Tensor:
    """G(z0 + length·u), u uniform on the sphere: as far from z0 as the attack went, anywhere.

    Args:
        z0: codes `(N, D)`.
        length: ‖z − z0‖₂ of the attack, `(N,)`.
        draws: on the CPU.
    """
    direction = torch.randn(z0.shape, generator=draws).to(z0)
    return generator.generate(z0 + length.unsqueeze(1) * direction / direction.norm(dim=1, keepdim=True))


def pixel_noise(x: Tensor, distance: Tensor, draws: torch.Generator) -> Tensor:
    """x under Gaussian noise whose scale is such that, clipped to [0, 1], it is `distance` `(N,)` away in L2.

    Clipping takes from the noise, so the scale is found by bisection: the distance grows with it. One that no scale
    reaches (noise can move a pixel to an end of [0, 1] and no further) is approached as far as it can be.

    Args:
        distance: ‖x' − x‖₂ of the attack.
        draws: on the CPU.
    """
    noise = torch.randn(x.shape, generator=draws, dtype=torch.float64)
    start, wanted = x.double().cpu(), distance.double().cpu()

    def noisy(scale: Tensor) -> Tensor:
        return (start + scale[:, None, None, None] * noise).clamp(0, 1)

    low = torch.zeros_like(wanted)
    high = 1 / noise.abs().flatten(1).amin(dim=1)  # moves every pixel as far as it goes
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_near = (noisy(middle) - start).flatten(1).norm(dim=1) < wanted
        low, high = torch.where(too_near, middle, low), torch.where(too_near, high, middle)
    return noisy(high).to(x)


def real_at_distance(
    x: Tensor, index: Tensor, label: Tensor, distance: Tensor, pool: Tensor, pool_index: Tensor, pool_labels: Tensor
) -> Tensor:
    """For each x the real image of class `label` whose distance ‖x − r‖₂ is nearest to `distance`.

    With the image's own class it is the control `real_pair`, with the target class `real_target`.

    Args:
        index: which image of the data set x is, `(N,)`: it is no match for itself.
        label: `(N,)`.
        distance: ‖x' − x‖₂ of the attack, `(N,)`.
        pool, pool_index, pool_labels: images to choose from `(M, C, H, W)`, which they are, and their classes.

    Raises:
        UserError: the pool has no other image of a class.
    """
    away = torch.cdist(x.flatten(1), pool.flatten(1))
    unfit = (label[:, None] != pool_labels) | (index[:, None] == pool_index)
    if unfit.all(dim=1).any():
        raise UserError(
            f"The victim classifies no other test image of class {int(label[unfit.all(dim=1)][0])} correctly: an "
            "attacked image has no real one to be compared with.",
            "Use a better victim, or more test images.",
        )
    return pool[(away - distance[:, None]).abs().masked_fill(unfit, torch.inf).argmin(dim=1)]


def without_victim(attack: AttackSettings) -> AttackSettings:
    """The same attack with the victim's multiplier held at 0: the picture becomes y', and the victim goes with it."""
    silent = {
        "_target_": "cam_adv.attack.multiplier.DualAscent",
        "start": 0.0,
        "rate": 0.0,
        "confidence": attack.confidence,
        "surplus": 0.0,
        "cap": 0.0,
    }
    # There is nothing to keep, so the walk ends where it ends; and only mu(x) is a start that asks no victim.
    return attack.model_copy(update={"multiplier": silent, "keep_best": False, "starts": ["mean"]})
