"""All figures of the study `attack`, drawn from the files of a finished run."""

import shutil
from pathlib import Path

import torch

from cam_adv.attacks.trace import evenly_spaced
from cam_adv.metrics.funnel import success_text
from cam_adv.pages.render import RUN_PAGE
from cam_adv.plots.attack_frames import draw_trace
from cam_adv.plots.curves import TrainingCurves, terms_figure, training_figure
from cam_adv.plots.drawing import Drawing
from cam_adv.plots.image_grid import image_grid_figure
from cam_adv.plots.interpretation import ShownExplanation, interpretation_figure
from cam_adv.plots.matrix import matrix_figure
from cam_adv.plots.save import save_figure
from cam_adv.reports.events import write_figure_events
from cam_adv.studies.attack.finished_attack import FinishedAttack
from cam_adv.studies.attack.page import write_report

PAIRS_IN_GRID = 64
EXPLAINED_PAIRS = 24


def draw_run(run: FinishedAttack, drawing: Drawing) -> None:
    """Draw everything in `figures/`, `trajectory.gif` and `report.html`; TensorBoard shows the figures, too."""
    figures, names = drawing.folder, run.class_names
    with drawing.attempt(figures.name):
        figures.mkdir(exist_ok=True)
    for number, example in enumerate(run.data.examples):
        source, target = names[example.y], names[example.target]
        with drawing.attempt(f"{source} to {target}"):
            animation = draw_trace(example.frames, source, target, names, figures, run.kind, run.from_samples)
            if number == 0:
                shutil.copyfile(animation, run.folder / "trajectory.gif")
    with drawing.attempt("pairs.png"):
        draw_pairs(run, figures / "pairs.png")
    if run.explained is not None:
        with drawing.attempt("interpretation.png"):
            draw_interpretation(run, *run.explained, figures / "interpretation.png")
    if run.data.every_pair:
        with drawing.attempt("matrix.png"):
            draw_success_matrix(run, figures / "matrix.png")
    with drawing.attempt("terms.png"):
        draw_attack_terms(run, figures / "terms.png")
    with drawing.attempt("trainings.png"):
        draw_trainings(run.data.trainings, figures / "trainings.png")
    with drawing.attempt(RUN_PAGE):
        write_report(run)
    with drawing.attempt("events of the figures"):
        write_figure_events(run.folder)


def draw_pairs(run: FinishedAttack, path: Path) -> None:
    """Draw pairs x, x' at evenly spaced rows of the results with the predictions for x', failures included.

    The accuracies on test images stand under them.
    """
    result, right = run.result, ", ".join(f"{name} {share:.1%}" for name, share in run.accuracy.items())
    shown = torch.tensor(evenly_spaced(len(result) - 1, PAIRS_IN_GRID))
    victim = run.victim_probs[shown].max(dim=1)
    generated = None if result.residual_path is None else run.generated
    save_figure(
        image_grid_figure(
            result.x[shown],
            result.x_adv[shown],
            result.y[shown],
            result.target[shown],
            victim.indices,
            victim.values,
            run.judge_reads[shown],
            run.data.success[shown],
            run.class_names,
            None if generated is None else generated[shown],
            run.from_samples,
            f"Right on test images: {right}.",
        ),
        path,
    )


def draw_interpretation(run: FinishedAttack, x: ShownExplanation, x_adv: ShownExplanation, path: Path) -> None:
    """Draw the robust interpretation of x and x' at evenly spaced rows of the results."""
    rows = torch.tensor(evenly_spaced(len(run.result) - 1, EXPLAINED_PAIRS))
    shown = [ShownExplanation(**{name: value[rows] for name, value in vars(one).items()}) for one in (x, x_adv)]
    labels = run.result.y[rows], run.result.target[rows]
    save_figure(interpretation_figure(shown[0], shown[1], *labels, run.class_names), path)


def draw_success_matrix(run: FinishedAttack, path: Path) -> None:
    """Draw the success rate of every ordered pair of classes."""
    count = len(run.class_names)
    pair = run.result.y * count + run.result.target
    attempts = torch.bincount(pair, minlength=count**2).reshape(count, count)
    successes = torch.bincount(pair[run.data.success], minlength=count**2).reshape(count, count)
    heading = success_text(run.kind, run.from_samples).capitalize()
    axes = ("class y that the victim must say", "class y′ of the sample") if run.from_samples else ()
    save_figure(matrix_figure(successes, attempts, run.class_names, heading, *axes), path)


def draw_attack_terms(run: FinishedAttack, path: Path) -> None:
    """Draw the terms of the objective against the steps of the attack."""
    recorded = torch.tensor(evenly_spaced(run.data.steps, run.result.trace_points))
    save_figure(terms_figure(recorded, run.result.terms, "Terms of the attack's objective"), path)


def draw_trainings(curves: TrainingCurves, path: Path) -> None:
    """Draw every model's losses against its epochs."""
    save_figure(training_figure(curves), path)
