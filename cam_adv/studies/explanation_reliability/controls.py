"""Control images: how a map changes when the image changes, but not by the attack.

Each control makes a second image for every attacked image x, as the attack makes x'; the pairs (x, x') and
(x, control) are then compared. `conf/control/` lists the controls. Matched controls keep the class, as the attack
does for the victim, and are checked to: where the victim calls one not y, it is left out. The others isolate one part
of the attack each: its length in pixels, the change of class without the victim's constraint, a real image of the
other class, and an image without content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply

BISECTION_STEPS = 50
"""For the scale of the noise: beyond the precision of float32."""

DIRECTIONS = 16
"""How many are drawn for each image, so that one of them is likely to keep the class."""


@dataclass(frozen=True)
class AttackedImages:
    """The successes of one attack, and what controls are made from; all but the networks on the CPU.

    index: which test image each x is, `(n,)`. y, target: labels `(n,)`.
    x, x_adv: `(n, C, H, W)` in [0, 1]. z0, z_start, z: codes `(n, D)` of x, of the attack's start and of x'.
    transition: result of the same attack without the victim's constraint, `(n, C, H, W)`.
    victim, generator: in eval mode. density: of the codes of training images.
    real, real_index: the test images that the victim classifies correctly, and which they are, `(M,)`.
    reconstructed: what the generator makes of these, `(M, C, H, W)` in [0, 1].
    class_names: for messages. seed: of the random controls.
    """

    index: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    x_adv: Tensor
    z0: Tensor
    z_start: Tensor
    z: Tensor
    transition: Tensor
    victim: nn.Module
    generator: Generator
    density: LatentDensity
    real: LabelledImages
    real_index: Tensor
    reconstructed: Tensor
    class_names: Sequence[str]
    seed: int

    @property
    def distance(self) -> Tensor:
        """‖x' − x‖₂, `(n,)`."""
        return (self.x_adv - self.x).flatten(1).norm(dim=1)

    @property
    def device(self) -> torch.device:
        """Of the networks."""
        return next(self.generator.parameters()).device

    def random_generator(self) -> torch.Generator:
        """A new one for each control, so that no control depends on which others are made."""
        return torch.Generator().manual_seed(self.seed)


Control = Callable[[AttackedImages], Tensor]
"""Makes the second images, `(n, C, H, W)` in [0, 1], on the CPU; NaN in a row for which there is none."""


def reconstruction(attacked: AttackedImages) -> Tensor:
    """G(mu(x)): the effect of the generator alone."""
    return batched_apply(attacked.generator.reconstruct, attacked.x, attacked.device)


def start(attacked: AttackedImages) -> Tensor:
    """G of the code that the attack started from, unattacked; with `attack.init=[mean]` the reconstruction."""
    return batched_apply(attacked.generator.decode, attacked.z_start, attacked.device)


def random_latent_perturbation(attacked: AttackedImages) -> Tensor:
    """G(z0 + ‖z − z0‖·u), u a random direction that stays in class y: the attack's latent distance on the manifold.

    u points at a code drawn from the density of y. Of `DIRECTIONS` draws the first is taken whose code is within the
    density of y and whose image the victim calls y; a row without one gets NaN.
    """
    distance, generator = (attacked.z - attacked.z0).norm(dim=1, keepdim=True), attacked.random_generator()
    images, found = torch.full_like(attacked.x, torch.nan), torch.zeros(len(attacked.y), dtype=torch.bool)
    for _ in range(DIRECTIONS):
        direction = attacked.density.sample(attacked.y, generator).to(attacked.z0) - attacked.z0
        codes = attacked.z0 + distance * direction / direction.norm(dim=1, keepdim=True)
        drawn = batched_apply(attacked.generator.decode, codes, attacked.device)
        said = batched_apply(attacked.victim, drawn, attacked.device).argmax(dim=1)
        within = attacked.density.contains(codes.to(attacked.device), attacked.y.to(attacked.device)).cpu()
        new = ~found & within & (said == attacked.y)
        images[new], found = drawn[new], found | new
    return images


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
    """The same attack from its first start without what constrains the victim: neither its prediction nor its CAM.

    The image becomes y', and the victim predicts y'.
    """
    no_penalty = {
        "_target_": "cam_adv.attacks.latent.penalty.DualAscent",
        "start": 0.0,
        "rate": 0.0,
        "proportional_gain": 0.0,
        "confidence": attack.confidence,
        "target_margin": 0.0,
        "cap": 0.0,
    }
    weights = attack.weights.model_copy(update={"cam": 0.0})
    # Without a constraint there is no best iterate to keep, nor a start that is worse than another.
    changes = {"penalty": no_penalty, "weights": weights, "keep_best": False, "init": attack.init[:1]}
    return attack.model_copy(update=changes)
