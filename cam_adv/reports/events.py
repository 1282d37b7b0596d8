"""A run in TensorBoard: curves, images, the latent space, and the HParams that compare it with other runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from cam_adv.attacks.base import Attack
from cam_adv.attacks.trace import evenly_spaced
from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.reports.hparams import Value, write_hparams
from cam_adv.reports.projector import write_codes
from cam_adv.training.generator_images import SHOWN, prior_codes

FIGURES_SUFFIX = ".figures"
"""Of the name of the events that hold the figures."""

RGBA = 4
"""TensorBoard's number of the colours of a PNG file with four channels."""


def write_events(
    evaluation: AttackEvaluation,
    evaluator: Evaluator,
    attack: Attack,
    class_names: Sequence[str],
    hyperparameters: Mapping[str, Value],
    summary: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write everything that TensorBoard shows of a run into its folder; events of an interrupted run are removed.

    Args:
        evaluator: its generator decodes codes.
        hyperparameters: of the run, by the keys of the command line; see `cam_adv.reports.hparams.hyperparameters`.
        summary: the content of `summary.json`.
        folder: of the run.
    """
    for stale in folder.glob("events.out.tfevents.*"):
        stale.unlink()
    with SummaryWriter(str(folder)) as writer:
        _write_curves(writer, evaluation, attack.steps_per_init)
        _write_images(writer, evaluation, evaluator)
        write_hparams(writer, hyperparameters, summary, f"{folder.name} of {folder.parent}")
    write_codes(evaluation, class_names, folder)


def write_figure_events(folder: Path) -> None:
    """Write the figures of a run into its folder's events, as the PNG files that they are, in place of earlier ones.

    The figure of the trainings is left out: each training has its own TensorBoard run.
    """
    for stale in folder.glob(f"events.out.tfevents.*{FIGURES_SUFFIX}"):
        stale.unlink()
    with SummaryWriter(str(folder), filename_suffix=FIGURES_SUFFIX) as writer:
        for path in sorted((folder / "figures").glob("*.png")):
            if path.stem != "trainings":
                with Image.open(path) as figure:
                    width, height = figure.size
                content = Summary.Image(
                    height=height, width=width, colorspace=RGBA, encoded_image_string=path.read_bytes()
                )
                value = Summary.Value(tag=f"figures/{path.stem}", image=content)
                writer._get_file_writer().add_summary(Summary(value=[value]))  # add_image would encode it anew


def _write_curves(writer: SummaryWriter, evaluation: AttackEvaluation, steps: int) -> None:
    """Against the steps: each term's median over the images, and the share that meets each criterion so far."""
    result = evaluation.result
    recorded = evenly_spaced(steps, result.trace_points)
    for name, values in result.terms.items():
        for step, median in zip(recorded, values.median(dim=0).values.tolist(), strict=True):
            writer.add_scalar(f"attack/term_{name.replace(' ', '_')}", median, step)
    steps_of_all_starts = steps * (1 + int(result.start.max()))
    for step in evenly_spaced(steps_of_all_starts, len(recorded)):
        for criterion, met in vars(evaluation.verdict).items():
            so_far = (met & (result.steps <= step)).float().mean().item()
            writer.add_scalar(f"attack/so_far_{criterion}", so_far, step)


def _write_images(writer: SummaryWriter, evaluation: AttackEvaluation, evaluator: Evaluator) -> None:
    """x, reconstructions and x' of some attacked images, and prior samples."""
    result = evaluation.result
    shown = torch.tensor(evenly_spaced(len(result) - 1, SHOWN))
    grids = {
        "sample" if evaluation.from_samples else "x": result.x[shown],
        "reconstruction": evaluator.decode(evaluation.on_x.codes[shown]),
        "x_adv": result.x_adv[shown],
        "prior_samples": evaluator.decode(prior_codes(evaluator.generator)),
    }
    for name, images in grids.items():
        writer.add_image(f"views/{name}", make_grid(images, padding=0))
