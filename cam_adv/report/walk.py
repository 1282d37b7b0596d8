"""The moments of one image's walk, as figures show them."""

import torch

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.attack.result import AttackResult
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.report.strip import Frame


def walk_frames(result: AttackResult, row: int, count: int, witnesses: Witnesses) -> list[Frame]:
    """x itself, then `count` moments from G(z0) to x', evenly spaced over the steps that the walk really took.

    A walk that started elsewhere than at z0 is shown with the straight line of codes from z0 to its start, which no
    optimiser walked.

    Args:
        result: with a path that was recorded at every step.
        row: the image.
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
    images = torch.cat([result.x[row : row + 1], witnesses.draw(walked[chosen])])
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
        for number, caption in enumerate(["x", *(captions[position] for position in chosen)])
    ]
