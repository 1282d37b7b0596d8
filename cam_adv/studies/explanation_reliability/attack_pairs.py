"""The successes of one attack on one victim: each clean image x with its adversarial image and its controls."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from hydra.utils import instantiate
from torch import Tensor

from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.pixels import to_unit_range
from cam_adv.models.predictions import batched_apply
from cam_adv.studies.explanation_reliability.config import ControlSettings
from cam_adv.studies.explanation_reliability.controls import AttackedImages, real_target

ADVERSARIAL = "attack"
"""Name of the adversarial images x' among the images that x is compared with."""


@dataclass(frozen=True)
class Unattacked:
    """Images of known classes, `(M, C, H, W)` in [0, 1] and `(M,)`, that the victim classifies correctly."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class AttackPairs:
    """The successes of one attack on one victim, all on the CPU.

    victim_seed: identifies the victim. layer_target: the victim and the layer of its exact CAM.
    index: which test image x is, `(n,)`. y, target: `(n,)`.
    start: the code of the start that led to x', and y: rows with an equal one depend on each other, `(n, D + 1)`.
    x: `(n, C, H, W)`. comparisons: name → images of x's shape: `attack`, and one for each control.
    keeps: name → whether the victim calls that image y, `(n,)`.
    usable: name → whether x is compared with that image, `(n,)`: where there is one, and with one of a matched
        control where it keeps y. Elsewhere x takes its place.
    other_class: real images of class y', of x's shape.
    clean: real test images that were not attacked. reconstructed: what the generator makes of these, G(mu(x)).
    """

    victim_seed: int
    layer_target: LayerTarget
    index: Tensor
    start: Tensor
    y: Tensor
    target: Tensor
    x: Tensor
    comparisons: dict[str, Tensor]
    keeps: dict[str, Tensor]
    usable: dict[str, Tensor]
    other_class: Tensor
    clean: Unattacked
    reconstructed: Unattacked

    def __len__(self) -> int:
        return len(self.y)


def make_attack_pairs(
    victim_seed: int,
    layer_target: LayerTarget,
    attacked: AttackedImages,
    start: Tensor,
    selected_index: Tensor,
    controls: Mapping[str, ControlSettings],
) -> AttackPairs:
    """Make the controls for the successes of an attack.

    Args:
        start: see `AttackPairs`.
        selected_index: which test images were attacked, failures included.
        controls: name → settings of the function that makes the control's images.
    """
    comparisons, keeps, usable = {}, {}, {}
    made = {name: instantiate(control.image)(attacked) for name, control in controls.items()}
    for name, images in {ADVERSARIAL: attacked.x_adv, **made}.items():
        exists = images.flatten(1).isfinite().all(dim=1)
        shown = torch.where(exists[:, None, None, None], images, attacked.x)
        said = batched_apply(attacked.victim, shown, attacked.device).argmax(dim=1)
        keeps[name] = exists & (said == attacked.y)
        usable[name] = keeps[name] if name in controls and controls[name].matched else exists
        comparisons[name] = torch.where(usable[name][:, None, None, None], images, attacked.x)
    rest = ~torch.isin(attacked.real_index, selected_index)
    real, drawn = attacked.real[rest], attacked.reconstructed[rest]
    clean = Unattacked(to_unit_range(real.images), real.labels)
    kept = batched_apply(attacked.victim, drawn, attacked.device).argmax(dim=1) == clean.labels
    return AttackPairs(
        victim_seed,
        layer_target,
        attacked.index,
        start,
        attacked.y,
        attacked.target,
        attacked.x,
        comparisons,
        keeps,
        usable,
        real_target(attacked),
        clean,
        Unattacked(drawn[kept], clean.labels[kept]),
    )
