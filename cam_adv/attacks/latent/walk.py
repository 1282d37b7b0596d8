"""One step of the optimisation of codes and residuals, on all samples at once and without waiting for the device."""

import math
from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor

from cam_adv.attacks.latent.objective import LossWeights, Terms
from cam_adv.attacks.latent.penalty import PenaltySchedule, logit

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


class Objective(Protocol):
    """What is minimised."""

    def begin(self, step: int) -> Hashable:
        """Prepare a step; steps with equal answers evaluate the same networks."""
        ...

    def __call__(self, variables: Tensor, rows: Tensor) -> Terms:
        """The terms `(n,)` of variables `(n, V)` of the samples `rows` `(n,)`, in the step that was prepared last."""
        ...


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

    def __init__(self, variables: Tensor, learning_rate: float, steps: int) -> None:
        """`steps`: the largest number of updates."""
        self.learning_rate = learning_rate
        self.first, self.second = torch.zeros_like(variables), torch.zeros_like(variables)
        corrections = [[1 - beta ** (step + 1) for beta in ADAM_BETAS] for step in range(steps + 1)]
        self._corrections = variables.new_tensor(corrections)
        self._correction = variables.new_ones(len(ADAM_BETAS))

    def begin(self, step: int) -> None:
        """Prepare the update after `step` updates."""
        self._correction.copy_(self._corrections[step])

    def update(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """The next update of the variables of `rows` `(n,)`, from their gradient `(n, V)`."""
        beta1, beta2 = ADAM_BETAS
        first = beta1 * self.first[rows] + (1 - beta1) * gradient
        second = beta2 * self.second[rows] + (1 - beta2) * gradient.square()
        self.first.index_copy_(0, rows, first)
        self.second.index_copy_(0, rows, second)
        first, second = first / self._correction[0], second / self._correction[1]
        return -self.learning_rate * first / (second.sqrt() + ADAM_EPSILON)


class Walk:
    """An optimisation of N samples and the operations of its steps, none of which waits for the device.

    All tensors have N rows and stay in the same memory, so that steps can be recorded. `rows` `(n,)` are those that
    steps compute, in which some samples may have stopped.
    """

    def __init__(
        self,
        objective: Objective,
        start: Tensor,
        project: Callable[[Tensor, Tensor], Tensor],
        penalty: PenaltySchedule,
        settings: OptimizerSettings,
    ) -> None:
        """See `optimize_codes`."""
        self.objective, self.project, self.penalty, self.settings = objective, project, penalty, settings
        count, device = len(start), start.device
        self.rows = torch.arange(count, device=device)
        self.values = project(start, self.rows)
        self.k = start.new_full((count,), penalty.start)
        self.adam = Adam(self.values, settings.learning_rate, settings.steps)
        self.best, self.best_score = self.values.clone(), start.new_full((count,), -torch.inf)
        self.best_step = torch.zeros(count, dtype=torch.long, device=device)
        self.best_k = self.k.clone()
        self.runs = torch.ones(count, dtype=torch.bool, device=device)
        self.diverged = torch.zeros(count, dtype=torch.bool, device=device)
        self.terms: dict[str, Tensor] = {}
        self._step = torch.zeros((), dtype=torch.long, device=device)

    def begin(self, step: int) -> Hashable:
        """Prepare a step; steps with equal answers consist of the same operations. See `Objective.begin`."""
        self._step.fill_(step)
        self.adam.begin(step)
        return self.objective.begin(step)

    def do_step(self) -> None:
        """Evaluate the objective, keep what is best, and move the samples that go on."""
        rows, settings, penalty = self.rows, self.settings, self.penalty
        runs, k, best, best_score = self.runs[rows], self.k[rows], self.best[rows], self.best_score[rows]
        variables = self.values[rows].requires_grad_()
        terms = self.objective(variables, rows)
        weight = penalty.weight(k, terms.log_odds.detach())
        total = terms.total(settings.weights, weight * penalty.loss(terms.log_odds))
        (gradient,) = torch.autograd.grad(total.sum(), variables)
        terms, variables = terms.detach(), variables.detach()

        finite = total.isfinite() & gradient.isfinite().all(dim=1)
        score = candidate_score(terms, settings.confidence, settings.margin, settings.weights)
        better = runs & finite & (score > best_score) if settings.keep_best else runs & finite
        best = torch.where(better.unsqueeze(1), variables, best)
        best_score = torch.where(better, score, best_score)
        self.best.index_copy_(0, rows, best)
        self.best_score.index_copy_(0, rows, best_score)
        self.best_step.index_copy_(0, rows, torch.where(better, self._step, self.best_step[rows]))
        self.best_k.index_copy_(0, rows, torch.where(better, k, self.best_k[rows]))
        self.diverged.index_copy_(0, rows, self.diverged[rows] | (runs & ~finite))
        for name, value in {**terms.named(), "k": k}.items():
            latest = self.terms.setdefault(name, value.new_zeros(len(self.values)))
            latest.index_copy_(0, rows, torch.where(runs, value, latest[rows]))

        goes_on = runs & finite
        if settings.keep_best:
            goes_on = goes_on & (best_score < math.log(settings.early_stop_prob))
        moved = self.project(variables + self.adam.update(rows, gradient), rows)
        self.values.index_copy_(0, rows, torch.where(goes_on.unsqueeze(1), moved, best))
        self.k.index_copy_(0, rows, penalty.update(k, terms.log_odds, terms.f2))
        self.runs.index_copy_(0, rows, goes_on)

    def leave_out_stopped(self, smallest_batch: int | None) -> int:
        """Compute fewer rows from now on; the number of samples that go on. See `Pace`."""
        runs = self.runs[self.rows]
        count = int(runs.sum())
        size = count if smallest_batch is None else len(self.rows)
        while smallest_batch is not None and size // 2 >= max(count, smallest_batch):
            size //= 2
        if size < len(self.rows):
            self.rows = self.rows[runs.int().argsort(descending=True, stable=True)[:size]]
        return count
