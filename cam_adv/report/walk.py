"""The moments of one image's walk, as figures show them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cam_adv.attack.result import AttackResult
from cam_adv.attack.way import straight_way, whole_way
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.report.strip import Frame


def walk_frames(result: AttackResult, row: int, count: int, witnesses: Witnesses) -> list[Frame]:
    """x itself, then `count` moments from G(z0) to x'; see `whole_way`.

    Args:
        result: with a path that was recorded at every step.
        row: the image.
    """
    codes, captions = whole_way(result, row, count)
    images = torch.cat([result.x[row : row + 1], witnesses.draw(codes)])
    return _frames(images, ["x", *captions], int(result.y[row]), witnesses)


def pixel_frames(result: AttackResult, row: int, count: int, witnesses: Witnesses) -> list[Frame]:
    """x, then `count` moments on the straight line to x'; see `straight_way`."""
    images, captions = straight_way(result, row, count)
    return _frames(images, captions, int(result.y[row]), witnesses)


def _frames(images: Tensor, captions: Sequence[str], y: int, witnesses: Witnesses) -> list[Frame]:
    opinions = witnesses.ask(images)
    return [
        Frame(
            image=images[number],
            cam=None if opinions.cam is None else opinions.cam[number, y],
            victim_label=int(opinions.victim[number].argmax()),
            victim_confidence=float(opinions.victim[number].max()),
            judge_label=int(opinions.judge[number].argmax()),
            judge_confidence=float(opinions.judge[number].max()),
            caption=caption,
        )
        for number, caption in enumerate(captions)
    ]
