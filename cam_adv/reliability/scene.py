"""The pictures of one attack on one victim: what was attacked, what it became, and the controls beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from hydra.utils import instantiate
from torch import Tensor

from cam_adv.data.splits import LabelledImages
from cam_adv.explanation.subject import Subject
from cam_adv.reliability.controls import Attacked, real_target
from cam_adv.settings import ControlSettings

ATTACKED = "attack"
"""The picture x' among those that x is compared with."""


@dataclass(frozen=True)
class Scene:
    """The successes of one attack on one victim, all on the CPU.

    victim: its seed. subject: the victim, looked at where its exact CAM is.
    index: which test image x is, `(n,)`. y, target: `(n,)`.
    x: `(n, C, H, W)`. others: name → pictures of x's shape: `attack`, and one for each control.
    other_class: real images of class y', of x's shape.
    honest: real test images that no attack began at and that the victim classifies correctly.
    """

    victim: int
    subject: Subject
    index: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    others: dict[str, Tensor]
    other_class: Tensor
    honest: LabelledImages

    def __len__(self) -> int:
        return len(self.y)


def make_scene(
    victim: int,
    subject: Subject,
    attacked: Attacked,
    began_at: Tensor,
    controls: Mapping[str, ControlSettings],
) -> Scene:
    """Put the controls beside the successes of an attack.

    Args:
        began_at: which test images the attack began at, failures included.
        controls: name → what makes its pictures.
    """
    others = {ATTACKED: attacked.x_adv}
    others |= {name: instantiate(control.picture)(attacked) for name, control in controls.items()}
    honest = attacked.real[~torch.isin(attacked.real_index, began_at)]
    return Scene(
        victim,
        subject,
        attacked.index,
        attacked.y,
        attacked.target,
        attacked.x,
        others,
        real_target(attacked),
        honest,
    )
