"""The optimisation of codes and residuals: tensors and functions, without Lightning, Hydra or files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from cam_adv.attacks.latent.objective import LossWeights, Terms
from cam_adv.attacks.latent.penalty import PenaltySchedule, logit
from cam_adv.attacks.trace import evenly_spaced

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class OptimizerSettings(Protocol):
    """The settings of a `LatentAttack` that the optimiser uses; see there."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weights(self) -> LossWeights: ...
    @property
    def confidence(self) -> float: ...
    @property
    def margin(self) -> float: ...
    @property
    def keep_best(self) -> bool: ...
    @property
    def early_stop_prob(self) -> float: ...
    @property
    def trace_points(self) -> int: ...


@dataclass(frozen=True)
class OptimizationTrace:
    """The result of each sample's optimisation, and its course.

    variables: `(N, V)`, the final codes, with their residuals if there are any; see `SearchSpace`.
    score: `(N,)`, of the final variables; see `candidate_score`.
    start: `(N,)`, the index of the attack's start.
    steps: `(N,)`, the step at which the final variables were found, counted from the first start.
    diverged: `(N,)`, whether a term or its gradient was NaN or infinite; such a sample returns its best before.
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


def candidate_score(terms: Terms, confidence: float, margin: float, weights: LossWeights) -> Tensor:
    """Score codes, `(N,)`, so that any code that meets the victim's criterion scores higher than any that does not.

    The criterion is log-odds of at least those of `confidence` plus `margin`. A code that meets it has the score
    `terms.proxy_log_prob`, less the change of the CAM and the weighted excess of the density if the attack constrains
    them. Any other code has a score that grows with the victim's log-odds.
    """
    lowest = -1e4  # far below the log of any probability that float32 can hold
    satisfied = terms.log_odds >= logit(confidence) + margin
    worth = terms.proxy_log_prob if terms.cam is None else terms.proxy_log_prob - terms.cam
    worth = worth if terms.density is None else worth - weights.density * terms.density
    return torch.where(satisfied, worth.clamp(min=lowest / 2), lowest + terms.log_odds)


class Adam:
    """Adam (Kingma and Ba 2015) with moments for each sample, so that samples can stop one by one."""

    def __init__(self, variables: Tensor, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.first, self.second = torch.zeros_like(variables), torch.zeros_like(variables)

    def update(self, rows: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The update of the variables of `rows` `(n,)` after `step` updates, from their gradient `(n, V)`."""
        beta1, beta2 = ADAM_BETAS
        self.first[rows] = beta1 * self.first[rows] + (1 - beta1) * gradient
        self.second[rows] = beta2 * self.second[rows] + (1 - beta2) * gradient.square()
        first = self.first[rows] / (1 - beta1 ** (step + 1))
        second = self.second[rows] / (1 - beta2 ** (step + 1))
        return -self.learning_rate * first / (second.sqrt() + ADAM_EPSILON)


def optimize_codes(
    evaluate: Callable[[Tensor, Tensor, int], Terms],
    start: Tensor,
    project: Callable[[Tensor, Tensor], Tensor],
    penalty: PenaltySchedule,
    settings: OptimizerSettings,
    on_step: Callable[[int, int], None] = lambda step, active: None,
) -> OptimizationTrace:
    """Minimise each sample's objective over its variables with Adam, with a multiplier k of its own.

    The samples are independent: losses are summed, k and Adam's moments are per sample. A sample stops early and
    leaves the batch once it meets the victim's criterion and the proxies' probability, or a term is NaN or infinite.

    Args:
        evaluate: (variables `(n, V)`, rows `(n,)` that they belong to, step) → terms `(n,)`.
        start: first variables, `(N, V)`.
        project: (variables `(n, V)`, rows `(n,)`) → the nearest allowed variables.
        penalty: the schedule of k.
        on_step: called after each step with the number of steps done and of samples that are still optimised.
    """
    count, device = len(start), start.device
    values = project(start, torch.arange(count, device=device))
    k = start.new_full((count,), penalty.start)
    adam = Adam(values, settings.learning_rate)
    best, best_score = values.clone(), start.new_full((count,), -torch.inf)
    best_step = torch.zeros(count, dtype=torch.long, device=device)
    best_k = k.clone()
    diverged = torch.zeros(count, dtype=torch.bool, device=device)
    recorded = evenly_spaced(settings.steps, settings.trace_points)
    path: list[Tensor] = []
    history: list[dict[str, Tensor]] = []
    latest: dict[str, Tensor] = {}
    active = torch.arange(count, device=device)

    for step in range(settings.steps + 1):
        if len(active):
            variables = values[active].requires_grad_()
            terms = evaluate(variables, active, step)
            weight = penalty.weight(k[active], terms.log_odds.detach())
            total = terms.total(settings.weights, weight * penalty.loss(terms.log_odds))
            (gradient,) = torch.autograd.grad(total.sum(), variables)
            terms = terms.detach()
            lost = ~(total.isfinite() & gradient.isfinite().all(dim=1))
            diverged[active[lost]] = True
            score = candidate_score(terms, settings.confidence, settings.margin, settings.weights)
            better = ~lost & (score > best_score[active]) if settings.keep_best else ~lost
            rows = active[better]
            best[rows], best_score[rows], best_step[rows], best_k[rows] = values[rows], score[better], step, k[rows]
            for name, value in {**terms.named(), "k": k[active]}.items():
                latest.setdefault(name, start.new_zeros(count))[active] = value
        if step in recorded:
            path.append(values.clone())
            history.append({name: value.clone() for name, value in latest.items()})
        if step < settings.steps and len(active):
            stops = lost | (settings.keep_best & (best_score[active] >= math.log(settings.early_stop_prob)))
            values[active[stops]] = best[active[stops]]
            active, gradient, terms = active[~stops], gradient[~stops], terms.rows(~stops)
            values[active] = project(values[active] + adam.update(active, gradient, step), active)
            k[active] = penalty.update(k[active], terms.log_odds, terms.f2)
            on_step(step + 1, len(active))

    with torch.no_grad():
        end = evaluate(best, torch.arange(count, device=device), settings.steps)
    # Until here, some of the proxies' log-probabilities may have been a few steps old.
    best_score = candidate_score(end, settings.confidence, settings.margin, settings.weights).nan_to_num(
        nan=-math.inf
    )
    path[-1], history[-1] = best, {**end.named(), "k": best_k}
    stacked = {name: torch.stack([frame[name] for frame in history], dim=1) for name in history[-1]}
    began = torch.zeros_like(best_step)
    return OptimizationTrace(best, best_score, began, best_step, diverged, torch.stack(path, dim=1), stacked)
