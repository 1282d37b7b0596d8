"""All figures of a run."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.attack.result import AttackResult
from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.evaluation.questions import CHANGED, KEPT
from cam_adv.naming import file_name
from cam_adv.report.animation import write_gif
from cam_adv.report.contact_sheet import draw_contact_sheet
from cam_adv.report.curves import draw_terms, draw_training
from cam_adv.report.matrix import draw_matrix
from cam_adv.report.strip import Frame, cam_scale, draw_strip
from cam_adv.report.walk import pixel_frames, walk_frames
from cam_adv.settings import AttackSettings, Kind, LatentAttackSettings
from cam_adv.training.workshop import Models

STRIP_FRAMES = 10
"""x and nine moments of the walk: as many as stay legible at a page's width."""

PAIRS_ON_A_SHEET = 64
FRAME_MILLISECONDS = 120
LOSSES = (
    "train/loss",
    "validation/loss",
    "train/J_KL",
    "train/J_2",
    "train/J_dec",
    "validation/reconstruction_nats",
    "train/discriminator_loss",
)
"""What is drawn of a training, in nats; TensorBoard has the rest."""

logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it reports each file that it reads


def draw_run(
    assessment: Assessment,
    walks: AttackResult,
    witnesses: Witnesses,
    plan: AttackSettings,
    class_names: tuple[str, ...],
    models: Models,
    folder: Path,
) -> None:
    """Everything in `figures/`, and `trajectory.gif`.

    Args:
        walks: the pictures whose walks are drawn, recorded at every step.
        plan: the settings of the attack.
        folder: of the run.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for row in range(len(walks)):
        frames_of = walk_frames if isinstance(plan, LatentAttackSettings) else pixel_frames
        frames = frames_of(walks, row, plan.frames, witnesses)
        source, target = class_names[walks.y[row]], class_names[walks.target[row]]
        animation = draw_walk(frames, source, target, class_names, figures, plan.kind)
        if row == 0:
            shutil.copyfile(animation, folder / "trajectory.gif")
    draw_pairs(assessment, class_names, figures / "pairs.png")
    if isinstance(plan, LatentAttackSettings) and plan.target == "every":
        draw_success_matrix(assessment, class_names, figures / "matrix.png")
    draw_attack_terms(assessment, plan.steps_per_start, figures / "terms.png")
    entries = {m.title: m.training.entry.folder for m in models.all() if m.training is not None}
    draw_trainings(entries, figures / "trainings.png")


def draw_walk(
    frames: list[Frame],
    source: str,
    target: str,
    class_names: tuple[str, ...],
    figures: Path,
    kind: Kind = "type1",
) -> Path:
    """The walk of one picture as a strip and as an animation, `<source>_to_<target>.png` and `.gif`.

    Returns:
        The animation's path.
    """
    kept = evenly_spaced(len(frames) - 2, STRIP_FRAMES - 1)
    strip = [frames[0], *(frames[1 + position] for position in kept)]
    name = file_name(f"{source}_to_{target}")
    way = f"From {source} to {target}" + ("" if kind == "type1" else ", for the victim")
    heading = f"{way}: what the victim says, what the judge says, and the CAM of {source}"
    cams = [frame.cam for frame in frames if frame.cam is not None]
    scale = cam_scale(cams) if cams else None  # of the whole walk, so that the strip and the animation agree
    draw_strip(strip, heading, class_names, figures / f"{name}.png", scale)
    write_gif(frames, class_names, figures / f"{name}.gif", FRAME_MILLISECONDS)
    return figures / f"{name}.gif"


def draw_pairs(assessment: Assessment, class_names: tuple[str, ...], path: Path) -> None:
    """Pairs x, x' from all over the results with what is said of x', failures included."""
    shown = torch.tensor(evenly_spaced(len(assessment.result) - 1, PAIRS_ON_A_SHEET))
    victim, judge = assessment.on_x_adv.victim[shown].max(dim=1), assessment.on_x_adv.judge[shown].max(dim=1)
    result = assessment.result
    draw_contact_sheet(
        result.x[shown],
        result.x_adv[shown],
        result.y[shown],
        result.target[shown],
        victim.indices,
        victim.values,
        judge.indices,
        judge.values,
        assessment.verdict.success[shown],
        class_names,
        path,
    )


def draw_success_matrix(assessment: Assessment, class_names: tuple[str, ...], path: Path) -> None:
    """Success of every ordered pair of classes."""
    classes = len(class_names)
    pair = assessment.result.y * classes + assessment.result.target
    attempts = torch.bincount(pair, minlength=classes**2).reshape(classes, classes)
    successes = torch.bincount(pair[assessment.verdict.success], minlength=classes**2).reshape(classes, classes)
    heading = f"Success: {KEPT[assessment.kind]}, {CHANGED[assessment.kind]}"
    draw_matrix(successes, attempts, class_names, heading, path)


def draw_attack_terms(assessment: Assessment, steps: int, path: Path) -> None:
    """The terms of the objective against the steps of the walk."""
    recorded = evenly_spaced(steps, assessment.result.path.shape[1])
    draw_terms(torch.tensor(recorded), assessment.result.terms, "Terms of the attack's objective", path)


def draw_trainings(folders: Mapping[str, Path], path: Path) -> None:
    """Every model's losses against its epochs, from the TensorBoard events in its folder."""
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
    draw_training(curves, path)


def _against_epochs(events: list[ScalarEvent], epoch_of_step: dict[int, int]) -> tuple[list[int], list[float]]:
    """One value for each epoch, in order: a training that was taken up again wrote some twice."""
    values = {epoch_of_step[event.step]: event.value for event in events}
    return sorted(values), [values[epoch] for epoch in sorted(values)]
