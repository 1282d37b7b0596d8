"""The trajectory of one attacked image: its frames, and these drawn as a filmstrip and as an animated GIF.

A latent attack is shown along its latent path from z0 to the final code, a pixel attack on the straight line
from x to x'.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.attacks.trace import evenly_spaced
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.plots.animation import write_gif
from cam_adv.plots.filmstrip import Frame, cam_scale, filmstrip_figure
from cam_adv.plots.save import save_figure
from cam_adv.runtime.slugify import slugify

FILMSTRIP_FRAMES = 10
"""x and nine frames of the trajectory: as many as stay legible at the width of a page."""

FRAME_MILLISECONDS = 120


def latent_path_frames(result: AttackResult, row: int, count: int) -> tuple[Tensor, list[str]]:
    """`count` codes `(F, D)` from z0 to z and their captions, evenly spaced over the optimiser's steps.

    If the optimiser was initialised elsewhere than at z0, the straight line of codes from z0 to the initial code
    comes first; the optimiser did not visit it.

    Args:
        result: with a path that was recorded at every step.
        row: index of the image.
        count: number of codes; fewer are returned where the path is shorter.

    Raises:
        ValueError: the result of an attack without latent codes.
    """
    if result.path is None or result.z0 is None:
        raise ValueError("the attack has no latent path")
    path, z0 = result.path[row], result.z0[row]
    last = int(result.steps[row]) - int(result.start[row]) * (len(path) - 1)  # step of the initialisation in use
    visited = torch.cat([path[:last], path[-1:]])
    captions = [f"step {step}" for step in range(len(visited))]
    if not torch.equal(visited[0], z0):
        share = torch.linspace(0, 1, max(2, len(visited) // 2)).unsqueeze(1)[:-1]
        visited = torch.cat([z0 + share * (visited[0] - z0), visited])
        captions = ["z0 to init"] * len(share) + captions
    captions[0], captions[-1] = "G(z0)", "x'"
    chosen = evenly_spaced(len(visited) - 1, count)
    return visited[chosen], [captions[position] for position in chosen]


def pixel_interpolation(result: AttackResult, row: int, count: int) -> tuple[Tensor, list[str]]:
    """x and `count` images `(1 + count, C, H, W)` on the straight line to x', with captions.

    The line shows at which share of the perturbation a prediction changes. The attack's own path in pixel space may
    differ from it.

    Args:
        row: index of the image.
        count: number of images after x.
    """
    share = torch.linspace(0, 1, count + 1)
    x, x_adv = result.x[row], result.x_adv[row]
    images = torch.lerp(x, x_adv, share.reshape(-1, 1, 1, 1))
    return images, ["x", *(f"{part:.0%} of the way" for part in share[1:-1].tolist()), "x'"]


def latent_frames(result: AttackResult, row: int, count: int, evaluator: Evaluator) -> list[Frame]:
    """x itself, then `count` frames from G(z0) to x'; see `latent_path_frames`.

    Args:
        result: with a path that was recorded at every step.
        row: index of the image.
    """
    codes, captions = latent_path_frames(result, row, count)
    images = torch.cat([result.x[row : row + 1], evaluator.decode(codes)])
    return _frames(images, ["x", *captions], int(result.y[row]), evaluator)


def pixel_frames(result: AttackResult, row: int, count: int, evaluator: Evaluator) -> list[Frame]:
    """x, then `count` frames on the straight line to x'; see `pixel_interpolation`."""
    images, captions = pixel_interpolation(result, row, count)
    return _frames(images, captions, int(result.y[row]), evaluator)


def draw_trace(
    frames: list[Frame],
    source: str,
    target: str,
    class_names: tuple[str, ...],
    folder: Path,
    kind: str = "type1",
) -> Path:
    """Write one trajectory as a filmstrip and as an animation: `<source>_to_<target>.png` and `.gif` in `folder`.

    Args:
        frames: x first, then the trajectory.
        source, target: names of the source and the target class.
        kind: "type1" or "type2".

    Returns:
        The path of the animation.
    """
    chosen = evenly_spaced(len(frames) - 2, FILMSTRIP_FRAMES - 1)
    filmstrip = [frames[0], *(frames[1 + position] for position in chosen)]
    name = slugify(f"{source}_to_{target}")
    change = f"From {source} to {target}" + ("" if kind == "type1" else ", for the victim")
    heading = f"{change}: predictions of victim and judge, and the CAM of {source}"
    cams = [frame.cam for frame in frames if frame.cam is not None]
    scale = cam_scale(cams) if cams else None  # of all frames, so that filmstrip and animation share it
    save_figure(filmstrip_figure(filmstrip, heading, class_names, scale), folder / f"{name}.png")
    write_gif(frames, class_names, folder / f"{name}.gif", FRAME_MILLISECONDS)
    return folder / f"{name}.gif"


def _frames(images: Tensor, captions: Sequence[str], y: int, evaluator: Evaluator) -> list[Frame]:
    predictions = evaluator.predict(images)
    return [
        Frame(
            image=images[number],
            cam=None if predictions.cam is None else predictions.cam[number, y],
            victim_label=int(predictions.victim[number].argmax()),
            victim_confidence=float(predictions.victim[number].max()),
            judge_label=int(predictions.judge[number].argmax()),
            judge_confidence=float(predictions.judge[number].max()),
            caption=caption,
        )
        for number, caption in enumerate(captions)
    ]
