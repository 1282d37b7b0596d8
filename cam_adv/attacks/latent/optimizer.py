"""The optimisation of codes and residuals: tensors and functions, without Lightning, Hydra or files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cam_adv.attacks.latent.pace import CPU, Pace
from cam_adv.attacks.latent.penalty import PenaltySchedule
from cam_adv.attacks.latent.recorded_steps import RecordedSteps
from cam_adv.attacks.latent.walk import Objective, OptimizerSettings, Walk, candidate_score
from cam_adv.attacks.trace import evenly_spaced


@dataclass(frozen=True)
class OptimizationTrace:
    """The result of each sample's optimisation, and its course.

    variables: `(N, V)`, the final codes, with their residuals if there are any; see `SearchSpace`.
    score: `(N,)`, of the final variables; see `candidate_score`.
    start: `(N,)`, the index of the attack's start.
    steps: `(N,)`, the step at which the final variables were found, counted from the first start.
    diverged: `(N,)`, whether the objective or its gradient was NaN or infinite; the best before is then returned.
    path: `(N, F, V)`, variables at the recorded steps; the last are the final ones.
    terms: name → `(N, F)`, terms of the objective and k along the path.
    """

    variables: Tensor
    score: Tensor
    start: Tensor
    steps: Tensor
    diverged: Tensor
    path: Tensor
    terms: dict[str, Tensor]

    def with_start(self, start: int, steps_before: int) -> "OptimizationTrace":
        """The same trace with the index `start` of its start, after `steps_before` steps from earlier starts."""
        return replace(self, start=torch.full_like(self.start, start), steps=self.steps + steps_before)

    def merge_better(self, rows: Tensor, other: "OptimizationTrace") -> "OptimizationTrace":
        """The rows `rows` `(n,)` replaced by those of `other` (n samples) that have a higher score."""
        better = other.score > self.score[rows]

        def merge(mine: Tensor, others: Tensor) -> Tensor:
            return mine.index_copy(0, rows[better], others[better])

        return OptimizationTrace(
            variables=merge(self.variables, other.variables),
            score=merge(self.score, other.score),
            start=merge(self.start, other.start),
            steps=merge(self.steps, other.steps),
            diverged=merge(self.diverged, other.diverged),
            path=merge(self.path, other.path),
            terms={name: merge(mine, other.terms[name]) for name, mine in self.terms.items()},
        )


def optimize_codes(
    objective: Objective,
    start: Tensor,
    project: Callable[[Tensor, Tensor], Tensor],
    penalty: PenaltySchedule,
    settings: OptimizerSettings,
    pace: Pace = CPU,
    on_step: Callable[[int, int], None] = lambda step, active: None,
) -> OptimizationTrace:
    """Minimise each sample's objective over its variables with Adam, with a multiplier k of its own.

    The samples are independent: losses are summed, k and Adam's moments are per sample. A sample stops early once it
    meets the victim's criterion and the proxies' probability, or its objective is NaN or infinite.

    Args:
        start: first variables, `(N, V)`.
        project: (variables `(n, V)`, rows `(n,)`) → the nearest allowed variables.
        penalty: the schedule of k.
        pace: suits the device.
        on_step: called after each step with the number of steps done and, as of the last look, of samples that are
            still optimised.
    """
    walk = Walk(objective, start, project, penalty, settings)
    steps = RecordedSteps(walk.do_step, pace.recorder)
    recorded = evenly_spaced(settings.steps, settings.trace_points)
    path: list[Tensor] = []
    history: list[dict[str, Tensor]] = []
    running = len(start)

    for step in range(settings.steps + 1):
        if step in recorded:
            path.append(walk.values.clone())
        if running:
            steps(walk.begin(step))
        if step in recorded:
            history.append({name: value.clone() for name, value in walk.terms.items()})
        if step < settings.steps and running:
            if (step + 1) % pace.look_every == 0:
                rows = walk.rows
                running = walk.leave_out_stopped(pace.smallest_batch)
                if walk.rows is not rows:
                    steps.forget()
            on_step(step + 1, running)

    objective.begin(settings.steps)
    with torch.no_grad():
        end = objective(walk.best, torch.arange(len(start), device=start.device))
    # Until here, some of the proxies' log-probabilities may have been a few steps old.
    score = candidate_score(end, settings.confidence, settings.margin, settings.weights).nan_to_num(nan=-math.inf)
    path[-1], history[-1] = walk.best, {**end.named(), "k": walk.best_k}
    stacked = {name: torch.stack([frame[name] for frame in history], dim=1) for name in history[-1]}
    began = torch.zeros_like(walk.best_step)
    return OptimizationTrace(
        walk.best, score, began, walk.best_step, walk.diverged, torch.stack(path, dim=1), stacked
    )
