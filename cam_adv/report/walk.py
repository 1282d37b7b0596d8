"""The moments of one image's walk, as figures show them."""

import torch

from cam_adv.attack.result import AttackResult
from cam_adv.attack.way import whole_way
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
    opinions = witnesses.ask(images)
    y = int(result.y[row])
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
        for number, caption in enumerate(["x", *captions])
    ]
