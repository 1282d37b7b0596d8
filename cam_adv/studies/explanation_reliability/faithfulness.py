"""H2: after the attack, masking what the map ranks highest controls the victim's margin less than under a control."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cam_adv.metrics.deletion_insertion import black, blurred, deletion_insertion_curves


def advantages(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Mapping[str, Tensor],
    label: Tensor,
    target: Tensor,
    steps: int,
    blur: float,
    generator: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """How much better each map ranks pixels than a random ranking does, as a share of the margin; `(N,)` each.

    A ranking's score is the area under its insertion curve minus that under its deletion curve. Its advantage is its
    score minus that of a random ranking, divided by the mean over the images of |margin of the image − margin of the
    baseline|, and averaged over a black and a blurred baseline. In this unit images with a large and a small margin
    are comparable: an attack that halves the margin also halves every area.

    Args:
        network: images in [0, 1] to logits `(N, K)`, in eval mode and on `device`.
        images: `(N, C, H, W)` in [0, 1].
        maps: name → raw maps `(N, h, w)`.
        label, target: y and y' `(N,)`: the margin is logit_y − logit_y'.
        steps: in which pixels are deleted and inserted.
        blur: standard deviation of the blurred baseline, in pixels.
        generator: on the CPU, for the random ranking and for ties.
    """
    rankings = {**maps, "random": torch.rand(len(images), *images.shape[2:], generator=generator)}
    total = {name: torch.zeros(len(images)) for name in maps}
    baselines = (black(images), blurred(images, blur))
    for baseline in baselines:
        score = {}
        for name, ranking in rankings.items():
            curves = deletion_insertion_curves(
                network, images, baseline, ranking, label, target, steps, generator, device
            )
            score[name] = curves.insertion_area - curves.deletion_area
        unit = (curves.deletion[:, 0] - curves.deletion[:, -1]).abs().mean()
        for name in maps:
            total[name] += (score[name] - score["random"]) / unit.clamp_min(torch.finfo(unit.dtype).tiny)
    return {name: value / len(baselines) for name, value in total.items()}
