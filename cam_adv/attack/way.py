"""The way of one picture, as it is shown: of a latent attack from z0 to where its walk ended, else from x to x'."""

import torch
from torch import Tensor

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.attack.result import AttackResult


def whole_way(result: AttackResult, row: int, count: int) -> tuple[Tensor, list[str]]:
    """`count` codes `(F, D)` from z0 to z, evenly spaced over the steps that the walk really took, and what each is.

    A walk that started elsewhere than at z0 is shown with the straight line of codes from z0 to its start, which no
    optimiser walked.

    Args:
        result: with a path that was recorded at every step.
        row: the image.
        count: of codes, fewer where the walk is shorter.
    """
    path, z0 = result.path[row], result.z0[row]
    last = int(result.steps[row]) - int(result.start[row]) * (len(path) - 1)  # of the walk that was kept
    walked = torch.cat([path[:last], path[-1:]])
    captions = [f"step {step}" for step in range(len(walked))]
    if not torch.equal(walked[0], z0):
        share = torch.linspace(0, 1, max(2, len(walked) // 2)).unsqueeze(1)[:-1]
        walked = torch.cat([z0 + share * (walked[0] - z0), walked])
        captions = ["z0 to start"] * len(share) + captions
    captions[0], captions[-1] = "G(z0)", "x'"
    chosen = evenly_spaced(len(walked) - 1, count)
    return walked[chosen], [captions[position] for position in chosen]


def straight_way(result: AttackResult, row: int, count: int) -> tuple[Tensor, list[str]]:
    """x, then `count` pictures `(1 + count, C, H, W)` on the straight line to x', and what share of it each has gone.

    The way of a pixel attack, which may have gone another: at which share of the perturbation does an answer change?

    Args:
        row: the image.
        count: of pictures after x.
    """
    share = torch.linspace(0, 1, count + 1)
    x, x_adv = result.x[row], result.x_adv[row]
    images = torch.lerp(x, x_adv, share.reshape(-1, 1, 1, 1))
    return images, ["x", *(f"{part:.0%} of the way" for part in share[1:-1].tolist()), "x'"]
