"""H2: at the end of the attack, masking what the map ranks highest no longer controls the victim's margin."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cam_adv.evaluation.erasure import black, blurred, erasure_curves


def advantages(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Mapping[str, Tensor],
    label: Tensor,
    target: Tensor,
    steps: int,
    blur: float,
    draws: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """How much better each explanation ranks pixels than chance does, as a share of the margin; `(N,)` each.

    A ranking's control is the area under its insertion curve less that under its deletion curve; its advantage is
    its control less that of a random ranking, divided by the mean over the images of |margin of the picture − margin
    of the baseline|, and averaged over a black and a blurred baseline. That unit lets pictures with a large margin
    be compared with pictures with a small one: a margin that the attack halved also halves every area.

    Args:
        network: images in [0, 1] to logits `(N, K)`, in eval mode and on `device`.
        images: `(N, C, H, W)` in [0, 1].
        maps: name → raw maps `(N, h, w)`.
        label, target: y and y' `(N,)`: the margin is logit_y − logit_y'.
        steps: in which pixels are erased and put back.
        blur: deviation of the blurred baseline, in pixels.
        draws: on the CPU, for the random ranking and for ties.
    """
    ranked = {**maps, "chance": torch.rand(len(images), *images.shape[2:], generator=draws)}
    total = {name: torch.zeros(len(images)) for name in maps}
    baselines = (black(images), blurred(images, blur))
    for baseline in baselines:
        control = {}
        for name, ranking in ranked.items():
            curves = erasure_curves(network, images, baseline, ranking, label, target, steps, draws, device)
            control[name] = curves.insertion_area - curves.deletion_area
        way = (curves.deletion[:, 0] - curves.deletion[:, -1]).abs().mean()
        for name in maps:
            total[name] += (control[name] - control["chance"]) / way.clamp_min(torch.finfo(way.dtype).tiny)
    return {name: value / len(baselines) for name, value in total.items()}
