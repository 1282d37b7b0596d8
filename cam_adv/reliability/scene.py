"""The pictures of one attack on one victim: what was attacked, what it became, and the controls beside it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import LabelledImages
from cam_adv.explanation.subject import Subject
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.networks.svae import SVAE
from cam_adv.reliability import controls


@dataclass(frozen=True)
class Scene:
    """The successes of one attack on one victim, all on the CPU.

    victim: its seed. subject: the victim, looked at where its exact CAM is.
    index: which test image x is, `(n,)`. y, target: `(n,)`.
    x: `(n, C, H, W)`. others: name → pictures of x's shape: `attack`, and one for each control.
    honest: real test images that no attack began at and that the victim classifies correctly.
    """

    victim: int
    subject: Subject
    index: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    others: dict[str, Tensor]
    honest: LabelledImages

    def __len__(self) -> int:
        return len(self.y)


def make_scene(
    victim: int,
    subject: Subject,
    attacked: AttackResult,
    index: Tensor,
    transition: Tensor,
    success: Tensor,
    generator: SVAE,
    test: LabelledImages,
    correct: Tensor,
    seed: int,
    device: torch.device,
) -> Scene:
    """Put the controls beside the successes of an attack.

    Args:
        attacked: all rows, failures included.
        index: which test image each row is, `(N,)`.
        transition: where the same walk ends without the victim's say, `(N, C, H, W)`.
        success: `(N,)` bool.
        test: all test images.
        correct: `(T,)` bool, those that the victim classifies correctly.
        seed: of the random controls.
    """
    draws = torch.Generator().manual_seed(seed)
    generator = generator.to(device)
    x, x_adv = attacked.x[success], attacked.x_adv[success]
    y, target, z0 = attacked.y[success], attacked.target[success], attacked.z0[success]
    distance = (x_adv - x).flatten(1).norm(dim=1)
    length = (attacked.z[success] - z0).norm(dim=1)
    real = correct.nonzero().squeeze(1)
    honest = test[real[~torch.isin(real, index)]]
    index = index[success]
    pool = unit(test.images[real]), real, test.labels[real]
    others = {
        "attack": x_adv,
        "reconstruction": in_batches(lambda part: controls.reconstruction(generator, part), x, device),
        "real_pair": controls.real_at_distance(x, index, y, distance, *pool),
        "latent_walk": controls.latent_walk(generator, z0.to(device), length.to(device), draws).cpu(),
        "pixel_noise": controls.pixel_noise(x, distance, draws),
        "transition": transition[success],
        "real_target": controls.real_at_distance(x, index, target, distance, *pool),
    }
    return Scene(victim, subject, index, y, target, x, others, honest)
