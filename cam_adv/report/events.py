"""A run in TensorBoard: curves, pictures, the latent space, and what compares it with other runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.overrides import Value
from cam_adv.report.hparams import write_hparams
from cam_adv.report.projector import write_codes
from cam_adv.training.pictures import SHOWN, prior_codes, tiles


def write_events(
    assessment: Assessment,
    witnesses: Witnesses,
    steps: int,
    class_names: Sequence[str],
    hyperparameters: Mapping[str, Value],
    summary: Mapping[str, Any],
    folder: Path,
) -> None:
    """Everything that TensorBoard shows of a run, in its folder; what an interrupted attempt left there goes.

    Args:
        witnesses: draw the generator's pictures.
        steps: of the attack, from each start.
        hyperparameters: what tells the run apart, by the keys of the command line.
        summary: what `summary.json` holds.
        folder: of the run, with its figures.
    """
    for left in folder.glob("events.out.tfevents.*"):
        left.unlink()
    with SummaryWriter(str(folder)) as writer:
        _write_curves(writer, assessment, steps)
        _write_pictures(writer, assessment, witnesses, folder / "figures")
        write_hparams(writer, hyperparameters, summary)
    write_codes(assessment, class_names, folder)


def _write_curves(writer: SummaryWriter, assessment: Assessment, steps: int) -> None:
    """Each term's median over the images, and the shares of them that are done so far, against steps."""
    result = assessment.result
    recorded = evenly_spaced(steps, result.path.shape[1])
    for name, values in result.terms.items():
        for step, median in zip(recorded, values.median(dim=0).values.tolist(), strict=True):
            writer.add_scalar(f"objective/{name.replace(' ', '_')}", median, step)
    budget = steps * (1 + int(result.start.max()))
    for step in evenly_spaced(budget, len(recorded)):
        for question, answer in vars(assessment.verdict).items():
            so_far = (answer & (result.steps <= step)).float().mean().item()
            writer.add_scalar(f"so_far/{question}", so_far, step)


def _write_pictures(writer: SummaryWriter, assessment: Assessment, witnesses: Witnesses, figures: Path) -> None:
    """Images as they were, as the generator sees them, and attacked; prior samples; the run's figures."""
    result = assessment.result
    shown = torch.tensor(evenly_spaced(len(result) - 1, SHOWN))
    pictures = {
        "x": result.x[shown],
        "reconstruction": witnesses.draw(result.z0[shown]),
        "x_adv": result.x_adv[shown],
        "prior_samples": witnesses.draw(prior_codes(result.z.shape[1])),
    }
    for name, images in pictures.items():
        writer.add_image(f"pictures/{name}", tiles(images))
    for path in sorted(figures.glob("*.png")):
        if path.stem != "trainings":  # they have runs of their own
            with Image.open(path) as picture:
                writer.add_image(f"figures/{path.stem}", np.asarray(picture), dataformats="HWC")
