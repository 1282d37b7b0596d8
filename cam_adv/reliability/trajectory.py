"""How maps move on the way from x to x': aligned by how far a code has come, not by the optimiser's steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.attack.result import AttackResult
from cam_adv.attack.way import whole_way
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.explanation.subject import Subject
from cam_adv.reliability.instability import change
from cam_adv.reliability.maps import make_maps
from cam_adv.settings import ExplanationSettings


@dataclass(frozen=True)
class Trajectory:
    """Of one picture; F moments from G(z0) to x'.

    images: `(F, C, H, W)`. captions: what each is.
    way: latent distance come so far, `(F,)`, ascending from 0: lengths of the steps between moments, added up.
    crossing: `way` at the first moment at which the judge says y', None if it never does.
    victim, judge: the victim's probability of y, and the judge's of y', `(F,)`.
    maps: explanation → raw maps of x and of the F moments, `(1 + F, h, w)`.
    changes: explanation → change of the map since x, `(F,)`.
    """

    x: Tensor
    y: int
    target: int
    images: Tensor
    captions: list[str]
    way: Tensor
    crossing: float | None
    victim: Tensor
    judge: Tensor
    maps: dict[str, Tensor]
    changes: dict[str, Tensor]


def follow(
    result: AttackResult,
    row: int,
    count: int,
    witnesses: Witnesses,
    subject: Subject,
    explanations: Mapping[str, ExplanationSettings],
) -> Trajectory:
    """Explain `count` moments of one walk.

    Args:
        result: with a path that was recorded at every step.
        row: the image.
        subject: the victim, as explanations look at it.
    """
    codes, captions = whole_way(result, row, count)
    x, images = result.x[row : row + 1], witnesses.draw(codes)
    opinions = witnesses.ask(images)
    y, target = int(result.y[row]), int(result.target[row])
    way = torch.cat([torch.zeros(1), (codes[1:] - codes[:-1]).norm(dim=1).cumsum(dim=0).cpu()])
    crossed = (opinions.judge.argmax(dim=1) == target).nonzero().flatten()
    everything = torch.cat([x, images])
    label, wanted = (torch.full((len(everything),), number) for number in (y, target))
    maps = {
        name: make_maps(explanation, subject, everything, label, wanted, witnesses.device)
        for name, explanation in explanations.items()
    }
    return Trajectory(
        x=x[0],
        y=y,
        target=target,
        images=images,
        captions=captions,
        way=way,
        crossing=float(way[crossed[0]]) if len(crossed) else None,
        victim=opinions.victim[:, y],
        judge=opinions.judge[:, target],
        maps=maps,
        changes={name: change(of[:1].expand_as(of[1:]), of[1:]) for name, of in maps.items()},
    )
