"""The walks of attacked images from x to x', frame by frame, with the answers and the CAMs at each frame."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cam_adv.attacks.result import AttackResult
from cam_adv.attacks.trace import evenly_spaced
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.predictions import batched_apply
from cam_adv.plots.filmstrip import enlarged_residual

MOST_FRAMES = 13
"""After x, evenly spaced among the recorded steps: judging a picture takes half a millisecond, and there are many."""

LARGEST_SIDE = 64
"""Of the pictures that are kept, in pixels: larger ones are reduced."""

AT_ONCE = 20
"""Walks that are predicted together: a victim's CAMs of all classes take much memory."""


@dataclass(frozen=True)
class Walks:
    """M walks of F frames: x, then recorded steps of the attack; the last frame is x'.

    A pixel attack records no path. Its frames are on the straight line from x to x', as in the figures.

    rows: of the images in the attack's result, `(M,)`.
    points: of each frame after x, its number among the recorded steps, `(F − 1,)`; None for a pixel attack.
    lengths: number of frames up to the first that is x', `(M,)`; the others repeat it.
    images: `(M, F, C, H, W)` uint8. residuals: x' − G(z) of each frame, enlarged around gray as in the figures; None
        for an attack without one.
    victim, judge, f2: probabilities `(M, F, K)`; f2 is None for a pixel attack, which has no codes.
    judge_reads: `(M, F)`.
    cams: the victim's raw maps of y and of y', `(M, F, 2, h, w)`; None where it has no exact CAM.
    robust: maps of y against y' of a robust interpretation, `(M, F, h, w)`, NaN where it abstains; None without one.
    """

    rows: Tensor
    lengths: Tensor
    images: Tensor
    victim: Tensor
    judge: Tensor
    judge_reads: Tensor
    points: Tensor | None = None
    residuals: Tensor | None = None
    f2: Tensor | None = None
    cams: Tensor | None = None
    robust: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def record(
        cls, result: AttackResult, evaluator: Evaluator, interpretation: RobustInterpretation | None, count: int
    ) -> "Walks":
        """Those of `count` evenly spaced rows of a result, failures included; of all rows if there are fewer."""
        rows = torch.tensor(evenly_spaced(len(result) - 1, count))
        parts = [_of_rows(result, part, evaluator, interpretation) for part in rows.split(AT_ONCE)]
        points = None if result.path is None else torch.tensor(_points(result))
        return cls(points=points, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _of_rows(
    result: AttackResult, rows: Tensor, evaluator: Evaluator, interpretation: RobustInterpretation | None
) -> dict[str, Tensor]:
    """The fields of these walks that they have, but `points`."""
    images, generated, codes = _frames(result, rows, evaluator)
    every, count = images.flatten(0, 1), images.shape[1]
    logits, maps = evaluator.logits_and_cams(every)
    reading = evaluator.judge.read(every, evaluator.device)
    of_frames = {"victim": logits.softmax(dim=1), "judge": reading.probs, "judge_reads": reading.reads}
    if codes is not None:
        f2 = batched_apply(evaluator.generator.classifier, codes.flatten(0, 1), evaluator.device)
        of_frames["f2"] = f2.softmax(dim=1)
    labels = torch.stack([result.y[rows], result.target[rows]], dim=1).repeat_interleave(count, dim=0)
    if maps is not None:
        of_frames["cams"] = maps[torch.arange(len(every)).unsqueeze(1), labels]
    if interpretation is not None:
        on_device = (part.to(evaluator.device) for part in (every, *labels.unbind(dim=1)))
        of_frames["robust"] = interpretation.explain(*on_device).maps
    pictures = {"images": _to_bytes(images)}
    if result.residual_path is not None and generated is not None:
        pictures["residuals"] = _to_bytes(enlarged_residual(images - generated))
    unflattened = {name: value.unflatten(0, images.shape[:2]) for name, value in of_frames.items()}
    return {"rows": rows, "lengths": _lengths(result, rows, count)} | pictures | unflattened


def _frames(result: AttackResult, rows: Tensor, evaluator: Evaluator) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Images and G(z), `(m, F, C, H, W)`, and codes, `(m, F, D)`, of each frame; x stands for its own G(z).

    G(z) and codes are None for a pixel attack.
    """
    x, x_adv = result.x[rows].unsqueeze(1), result.x_adv[rows].unsqueeze(1)
    if result.path is None or result.z0 is None:
        share = torch.linspace(0, 1, 1 + MOST_FRAMES).reshape(1, -1, 1, 1, 1)
        return torch.lerp(x, x_adv, share), None, None
    points = _points(result)
    path = result.path[rows][:, points]
    generated = evaluator.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2])
    images = generated
    if result.residual_path is not None:
        images = (generated + result.residual_path[rows][:, points]).clamp(0, 1)
    images = torch.cat([x, images[:, :-1], x_adv], dim=1)  # x' itself, whose last bits depend on no batch
    return images, torch.cat([x, generated], dim=1), torch.cat([result.z0[rows].unsqueeze(1), path], dim=1)


def _lengths(result: AttackResult, rows: Tensor, frames: int) -> Tensor:
    """See `Walks.lengths`."""
    lengths = torch.full_like(rows, frames)
    if result.path is None:
        return lengths
    points = _points(result)
    same = torch.ones(len(rows), len(points), dtype=torch.bool)
    for values in (result.path, result.residual_path):
        if values is not None:
            recorded = values[rows][:, points].flatten(2)
            same &= (recorded == recorded[:, -1:]).all(dim=2)
    repeated = same.flip(1).long().cumprod(dim=1).sum(dim=1) - 1  # at the end, after the first of them
    return lengths - repeated


def _points(result: AttackResult) -> list[int]:
    return evenly_spaced(result.trace_points - 1, MOST_FRAMES)


def _to_bytes(images: Tensor) -> Tensor:
    """Images `(m, F, C, H, W)` in [0, 1] as uint8, reduced to `LARGEST_SIDE`."""
    height, width = images.shape[-2:]
    scale = LARGEST_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(scale * height)), max(1, round(scale * width)))
        images = functional.interpolate(images.flatten(0, 1), size, mode="area").unflatten(0, images.shape[:2])
    return (255 * images).round().byte()
