"""All figures of the study `attack`."""

import logging
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from cam_adv.attacks.base import Attack
from cam_adv.attacks.result import AttackResult
from cam_adv.attacks.trace import evenly_spaced
from cam_adv.metrics.evaluation import SAMPLE, AttackEvaluation
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.metrics.funnel import success_text
from cam_adv.plots.attack_frames import draw_trace, latent_frames, pixel_frames
from cam_adv.plots.curves import terms_figure, training_figure
from cam_adv.plots.image_grid import image_grid_figure
from cam_adv.plots.matrix import matrix_figure
from cam_adv.plots.save import save_figure
from cam_adv.schema.selection import SelectionSettings
from cam_adv.training.model_zoo import ModelSet

PAIRS_IN_GRID = 64
LOSSES = (
    "train/loss",
    "validation/loss",
    "train/J_KL",
    "train/J_2",
    "train/J_dec",
    "validation/reconstruction_nats",
    "train/discriminator_loss",
)
"""Tags of a training that are drawn, in nats; TensorBoard has the others too."""

logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it logs each file that it reads


def draw_run(
    evaluation: AttackEvaluation,
    traces: AttackResult,
    evaluator: Evaluator,
    attack: Attack,
    selection: SelectionSettings,
    class_names: tuple[str, ...],
    accuracy: Mapping[str, float],
    models: ModelSet,
    folder: Path,
) -> None:
    """Draw everything in `figures/`, and `trajectory.gif`.

    Args:
        traces: the attacks on the example images, recorded at every step.
        attack: of both results.
        accuracy: of the networks on test images, by `<name>_accuracy`; it stands under the pairs.
        models: whose trainings are drawn.
        folder: of the run.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    from_samples = evaluation.from_samples
    for row in range(len(traces)):
        frames_of = pixel_frames if traces.path is None else latent_frames
        if from_samples:
            frames_of = partial(latent_frames, x_caption=SAMPLE)
        frames = frames_of(traces, row, attack.trace_points, evaluator)
        source, target = class_names[int(traces.y[row])], class_names[int(traces.target[row])]
        animation = draw_trace(frames, source, target, class_names, figures, attack.kind, from_samples)
        if row == 0:
            shutil.copyfile(animation, folder / "trajectory.gif")
    right = ", ".join(f"{name.removesuffix('_accuracy')} {share:.1%}" for name, share in accuracy.items())
    draw_pairs(evaluation, class_names, figures / "pairs.png", f"Right on test images: {right}.")
    if selection.target == "every":
        draw_success_matrix(evaluation, class_names, figures / "matrix.png")
    draw_attack_terms(evaluation, attack.steps_per_init, figures / "terms.png")
    entries = {m.title: m.training.entry.folder for m in models.all() if m.training is not None}
    draw_trainings(entries, figures / "trainings.png")


def draw_pairs(evaluation: AttackEvaluation, class_names: tuple[str, ...], path: Path, note: str) -> None:
    """Draw pairs x, x' at evenly spaced rows of the results with the predictions for x', failures included.

    Args:
        note: stands under them.
    """
    shown = torch.tensor(evenly_spaced(len(evaluation.result) - 1, PAIRS_IN_GRID))
    victim, result = evaluation.on_x_adv.victim[shown].max(dim=1), evaluation.result
    generated = None if result.residual_path is None else evaluation.generated
    save_figure(
        image_grid_figure(
            result.x[shown],
            result.x_adv[shown],
            result.y[shown],
            result.target[shown],
            victim.indices,
            victim.values,
            evaluation.on_x_adv.judge_reads[shown],
            evaluation.verdict.success[shown],
            class_names,
            None if generated is None else generated[shown],
            evaluation.from_samples,
            note,
        ),
        path,
    )


def draw_success_matrix(evaluation: AttackEvaluation, class_names: tuple[str, ...], path: Path) -> None:
    """Draw the success rate of every ordered pair of classes."""
    count = len(class_names)
    pair = evaluation.result.y * count + evaluation.result.target
    attempts = torch.bincount(pair, minlength=count**2).reshape(count, count)
    successes = torch.bincount(pair[evaluation.verdict.success], minlength=count**2).reshape(count, count)
    heading = success_text(evaluation.kind, evaluation.from_samples).capitalize()
    axes = ("class y that the victim must say", "class y′ of the sample") if evaluation.from_samples else ()
    save_figure(matrix_figure(successes, attempts, class_names, heading, *axes), path)


def draw_attack_terms(evaluation: AttackEvaluation, steps: int, path: Path) -> None:
    """Draw the terms of the objective against the steps of the attack."""
    recorded = evenly_spaced(steps, evaluation.result.trace_points)
    save_figure(
        terms_figure(torch.tensor(recorded), evaluation.result.terms, "Terms of the attack's objective"), path
    )


def draw_trainings(folders: Mapping[str, Path], path: Path) -> None:
    """Draw every model's losses against its epochs.

    Args:
        folders: of the store with the TensorBoard events, by the titles of the models.
    """
    curves = {}
    for title, folder in folders.items():
        events = EventAccumulator(str(folder))
        events.Reload()
        epoch_of_step = {event.step: int(event.value) + 1 for event in events.Scalars("epoch")}
        curves[title] = {
            tag: _against_epochs(events.Scalars(tag), epoch_of_step)
            for tag in LOSSES
            if tag in events.Tags()["scalars"]
        }
    save_figure(training_figure(curves), path)


def _against_epochs(events: list[ScalarEvent], epoch_of_step: dict[int, int]) -> tuple[list[int], list[float]]:
    """Epochs and their values in order, one value for each epoch: a resumed training has written some twice."""
    values = {epoch_of_step[event.step]: event.value for event in events}
    return sorted(values), [values[epoch] for epoch in sorted(values)]
