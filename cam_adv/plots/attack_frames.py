"""The trajectory of one attacked image: its frames, and these drawn as a filmstrip and as an animated GIF.

A latent attack is shown along its path from z0 to the final code and residual, a pixel attack on the straight line
from x to x'.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.attacks.trace import evenly_spaced
from cam_adv.metrics.evaluator import Evaluator, Predictions
from cam_adv.plots.animation import write_gif
from cam_adv.plots.filmstrip import Frame, cam_scale, filmstrip_figure
from cam_adv.plots.save import save_figure
from cam_adv.runtime.slugify import slugify

FILMSTRIP_FRAMES = 10
"""x and nine frames of the trajectory: as many as stay legible at the width of a page."""

FRAME_MILLISECONDS = 120


@dataclass(frozen=True)
class LatentPath:
    """Frames of an attack's path in the latent space.

    codes: z, `(F, D)`. residuals: δ, `(F, C, H, W)`; None for an attack without one. captions: one for each frame.
    """

    codes: Tensor
    residuals: Tensor | None
    captions: list[str]

    def images(self, evaluator: Evaluator) -> tuple[Tensor, Tensor]:
        """clip(G(z) + δ, 0, 1) and G(z) of each frame, both `(F, C, H, W)`."""
        generated = evaluator.decode(self.codes)
        return (generated if self.residuals is None else (generated + self.residuals).clamp(0, 1)), generated


def latent_path_frames(result: AttackResult, row: int, count: int) -> LatentPath:
    """`count` frames from z0 to z, evenly spaced over the optimiser's steps; fewer where the path is shorter.

    If the optimiser started elsewhere than at z0, the straight line of codes from z0 to the start comes first. Its
    captions say "interpolated": the optimiser did not visit it, and nothing asks the victim for y there.

    Args:
        result: with a path that was recorded at every step.
        row: index of the image.
        count: number of frames.

    Raises:
        ValueError: the result of an attack without latent codes.
    """
    if result.path is None or result.z0 is None:
        raise ValueError("the attack has no latent path")
    path, z0 = result.path[row], result.z0[row]
    residuals = None if result.residual_path is None else result.residual_path[row]
    last = int(result.steps[row]) - int(result.start[row]) * (len(path) - 1)  # step of the start in use
    visited = torch.tensor([*range(last), len(path) - 1])
    codes, captions = path[visited], [f"step {step}" for step in range(len(visited))]
    residuals = None if residuals is None else residuals[visited]
    if not torch.equal(codes[0], z0):
        share = torch.linspace(0, 1, max(2, len(codes) // 2)).unsqueeze(1)[:-1]
        codes = torch.cat([z0 + share * (codes[0] - z0), codes])
        if residuals is not None:
            residuals = torch.cat([residuals.new_zeros(len(share), *residuals.shape[1:]), residuals])
        captions = ["interpolated"] * len(share) + ["G(start)", *captions[1:]]
    captions[0], captions[-1] = "G(z0)", "x'"
    chosen = evenly_spaced(len(codes) - 1, count)
    residuals = None if residuals is None else residuals[chosen]
    return LatentPath(codes[chosen], residuals, [captions[position] for position in chosen])


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


def latent_frames(
    result: AttackResult, row: int, count: int, evaluator: Evaluator, x_caption: str = "x"
) -> list[Frame]:
    """x itself, then `count` frames from G(z0) to x'; see `latent_path_frames`.

    Args:
        result: with a path that was recorded at every step.
        row: index of the image.
        x_caption: what x is called.
    """
    path = latent_path_frames(result, row, count)
    images, generated = path.images(evaluator)
    frames = _frames(
        torch.cat([result.x[row : row + 1], images]), [x_caption, *path.captions], int(result.y[row]), evaluator
    )
    if path.residuals is None:
        return frames
    return [frames[0], *(replace(frame, generated=one) for frame, one in zip(frames[1:], generated, strict=True))]


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
    from_samples: bool = False,
) -> Path:
    """Write one trajectory as a filmstrip and as an animation: `<source>_to_<target>.png` and `.gif` in `folder`.

    From a sample of the target class, which the victim must come to call the source class, they are called
    `<target>_as_<source>`.

    Args:
        frames: x first, then the trajectory.
        source, target: names of the source and the target class.
        kind: "type1" or "type2".
        from_samples: whether x is a sample of the target class instead of an image of the source class.

    Returns:
        The path of the animation.
    """
    chosen = evenly_spaced(len(frames) - 2, FILMSTRIP_FRAMES - 1)
    filmstrip = [frames[0], *(frames[1 + position] for position in chosen)]
    name = slugify(f"{target}_as_{source}" if from_samples else f"{source}_to_{target}")
    change = f"From {source} to {target}" + ("" if kind == "type1" else ", for the victim")
    if from_samples:
        change = f"A sample of {target} that the victim must call {source}"
    heading = f"{change}: predictions of victim and judge, and the CAM of {source}"
    cams = [frame.cam for frame in frames if frame.cam is not None]
    scale = cam_scale(cams) if cams else None  # of all frames, so that filmstrip and animation share it
    save_figure(filmstrip_figure(filmstrip, heading, class_names, scale), folder / f"{name}.png")
    write_gif(frames, class_names, folder / f"{name}.gif", FRAME_MILLISECONDS)
    return folder / f"{name}.gif"


def predicted_frame(
    image: Tensor, caption: str, predictions: Predictions, row: int, y: int, generated: Tensor | None = None
) -> Frame:
    """The frame of an image `(C, H, W)` that is row `row` of the predictions, with the CAM of class y."""
    return Frame(
        image=image,
        cam=None if predictions.cam is None else predictions.cam[row, y],
        victim_label=int(predictions.victim[row].argmax()),
        victim_confidence=float(predictions.victim[row].max()),
        judge_label=int(predictions.judge_reads[row]),
        judge_confidence=float(predictions.judge[row].max()),
        caption=caption,
        generated=generated,
    )


def _frames(images: Tensor, captions: Sequence[str], y: int, evaluator: Evaluator) -> list[Frame]:
    predictions = evaluator.predict(images)
    return [predicted_frame(images[row], caption, predictions, row, y) for row, caption in enumerate(captions)]
