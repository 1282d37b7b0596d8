"""How maps change along the path from x to x', as a function of latent distance instead of optimiser steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.plots.attack_frames import latent_path_frames
from cam_adv.schema.attribution import AttributionSettings
from cam_adv.studies.explanation_reliability.instability import map_dissimilarity
from cam_adv.studies.explanation_reliability.maps import make_maps


@dataclass(frozen=True)
class Trajectory:
    """Of one image: F frames from G(z0) to x'.

    frames: `(F, C, H, W)`. captions: one for each frame.
    path_length: cumulative latent distance between consecutive frames, `(F,)`, ascending from 0.
    judge_crossing: `path_length` at the first frame that the judge reads as y', None if there is none.
    victim_probs, judge_probs: the victim's probability of y, and the judge's of y', `(F,)`.
    maps: attribution method → raw maps of x and of the F frames, `(1 + F, h, w)`.
    dissimilarities: attribution method → dissimilarity of the frame's map to that of x, `(F,)`.
    """

    x: Tensor
    y: int
    target: int
    frames: Tensor
    captions: list[str]
    path_length: Tensor
    judge_crossing: float | None
    victim_probs: Tensor
    judge_probs: Tensor
    maps: dict[str, Tensor]
    dissimilarities: dict[str, Tensor]


def trace_attributions(
    result: AttackResult,
    row: int,
    count: int,
    evaluator: Evaluator,
    layer_target: LayerTarget,
    attributions: Mapping[str, AttributionSettings],
) -> Trajectory:
    """Make the maps of `count` frames along the path of one attack.

    Args:
        result: with a path that was recorded at every step.
        row: the image.
        layer_target: the victim and the layer whose maps are made.
    """
    path = latent_path_frames(result, row, count)
    codes, captions = path.codes, path.captions
    x, frames = result.x[row : row + 1], path.images(evaluator)[0]
    predictions = evaluator.predict(frames)
    y, target = int(result.y[row]), int(result.target[row])
    path_length = torch.cat([torch.zeros(1), (codes[1:] - codes[:-1]).norm(dim=1).cumsum(dim=0).cpu()])
    crossed = (predictions.judge_reads == target).nonzero().flatten()
    images = torch.cat([x, frames])
    y_rows, target_rows = (torch.full((len(images),), number) for number in (y, target))
    maps = {
        name: make_maps(attribution, layer_target, images, y_rows, target_rows, evaluator.device)
        for name, attribution in attributions.items()
    }
    return Trajectory(
        x=x[0],
        y=y,
        target=target,
        frames=frames,
        captions=captions,
        path_length=path_length,
        judge_crossing=float(path_length[crossed[0]]) if len(crossed) else None,
        victim_probs=predictions.victim[:, y],
        judge_probs=predictions.judge[:, target],
        maps=maps,
        dissimilarities={name: map_dissimilarity(own[:1].expand_as(own[1:]), own[1:]) for name, own in maps.items()},
    )
