"""The successes of one attack on one victim: each clean image x with its adversarial image and its controls."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from hydra.utils import instantiate
from torch import Tensor

from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.splits import LabelledImages
from cam_adv.studies.explanation_reliability.config import ControlSettings
from cam_adv.studies.explanation_reliability.controls import AttackedImages, real_target

ADVERSARIAL = "attack"
"""Name of the adversarial images x' among the images that x is compared with."""


@dataclass(frozen=True)
class AttackPairs:
    """The successes of one attack on one victim, all on the CPU.

    victim_seed: identifies the victim. layer_target: the victim and the layer of its exact CAM.
    index: which test image x is, `(n,)`. y, target: `(n,)`.
    x: `(n, C, H, W)`. comparisons: name → images of x's shape: `attack`, and one for each control.
    other_class: real images of class y', of x's shape.
    clean: real test images that were not attacked and that the victim classifies correctly.
    """

    victim_seed: int
    layer_target: LayerTarget
    index: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    comparisons: dict[str, Tensor]
    other_class: Tensor
    clean: LabelledImages

    def __len__(self) -> int:
        return len(self.y)


def make_attack_pairs(
    victim_seed: int,
    layer_target: LayerTarget,
    attacked: AttackedImages,
    selected_index: Tensor,
    controls: Mapping[str, ControlSettings],
) -> AttackPairs:
    """Make the controls for the successes of an attack.

    Args:
        selected_index: which test images were attacked, failures included.
        controls: name → settings of the function that makes the control's images.
    """
    comparisons = {ADVERSARIAL: attacked.x_adv}
    comparisons |= {name: instantiate(control.image)(attacked) for name, control in controls.items()}
    clean = attacked.real[~torch.isin(attacked.real_index, selected_index)]
    return AttackPairs(
        victim_seed,
        layer_target,
        attacked.index,
        attacked.y,
        attacked.target,
        attacked.x,
        comparisons,
        real_target(attacked),
        clean,
    )
