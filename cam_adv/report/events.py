"""The attack in TensorBoard: terms against steps, success so far, pictures."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.evaluation.assessment import Assessment


def write_events(assessment: Assessment, steps: int, folder: Path) -> None:
    """Scalars and images of an attack of `steps` steps from each start, as events in `folder`."""
    for unfinished in folder.glob("events.out.tfevents.*"):
        unfinished.unlink()  # of an interrupted run: they would stand beside these
    result = assessment.result
    recorded = evenly_spaced(steps, result.path.shape[1])
    budget = steps * (1 + int(result.start.max()))
    with SummaryWriter(str(folder)) as writer:
        for name, values in result.terms.items():
            for step, median in zip(recorded, values.median(dim=0).values.tolist(), strict=True):
                writer.add_scalar(f"attack/{name.replace(' ', '_')}", median, step)
        for step in evenly_spaced(budget, len(recorded)):
            so_far = (assessment.verdict.success & (result.steps <= step)).float().mean().item()
            writer.add_scalar("attack/success_so_far", so_far, step)
        shown = torch.tensor(evenly_spaced(len(result) - 1, 64))
        writer.add_image("pictures/x", tiles(result.x[shown]))
        writer.add_image("pictures/x_adv", tiles(result.x_adv[shown]))


def tiles(images: Tensor, across: int = 8) -> Tensor:
    """Images `(N, C, H, W)` side by side as one, `(C, rows·H, across·W)`, empty places black."""
    count, channels, height, width = images.shape
    rows = -(-count // across)
    padded = torch.cat([images, images.new_zeros(rows * across - count, channels, height, width)])
    grid = padded.reshape(rows, across, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, across * width)
