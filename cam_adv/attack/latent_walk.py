"""The optimisation of latent codes: plain tensors and networks, nothing of Lightning, configs or files."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.attack.multiplier import Multiplier
from cam_adv.attack.objective import Terms
from cam_adv.settings import Weights

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class Walk:
    """Where a walk ended and how it went there.

    codes: `(N, D)`, the codes at the end.
    score: `(N,)`, how good the end is; see `score`.
    steps: `(N,)`, the step at which the end was met.
    path: `(N, F, D)`, codes at the recorded steps; the last is the end.
    terms: name → `(N, F)`, terms of the objective and k at the codes of the path.
    """

    codes: Tensor
    score: Tensor
    steps: Tensor
    path: Tensor
    terms: dict[str, Tensor]

    def where_better(self, rows: Tensor, other: "Walk") -> "Walk":
        """This walk, with the rows `rows` `(n,)` replaced by those of `other` (n samples) that score higher."""
        better = other.score > self.score[rows]

        def merge(mine: Tensor, others: Tensor) -> Tensor:
            return mine.index_copy(0, rows[better], others[better])

        columns = ("codes", "score", "steps", "path")
        merged = {name: merge(getattr(self, name), getattr(other, name)) for name in columns}
        terms = {name: merge(mine, other.terms[name]) for name, mine in self.terms.items()}
        return Walk(**merged, terms=terms)


def score(terms: Terms, aim: float) -> Tensor:
    """Rank codes, `(N,)`: those at which the victim keeps y come first, by how far the proxies believe y'.

    Where the victim gives y at least the probability `aim`, the score is `terms.believed` (a log-probability);
    elsewhere it is lower than any of these, and the lower the further the victim is from y.
    """
    lowest = -1e4  # far below the log of any probability that float32 can hold
    kept = terms.log_odds >= math.log(aim / (1 - aim))
    return torch.where(kept, terms.believed, lowest + terms.log_odds)


def recorded_steps(steps: int, frames: int) -> list[int]:
    """`frames` evenly spaced steps from 0 to `steps`, or all of them where there are fewer."""
    return torch.linspace(0, steps, min(frames, steps + 1), dtype=torch.float64).round().long().tolist()


def latent_walk(
    evaluate: Callable[[Tensor, Tensor, int], Terms],
    start: Tensor,
    origin: Tensor,
    weights: Weights,
    multiplier: Multiplier,
    steps: int,
    learning_rate: float,
    strength: float | None,
    aim: float,
    keep_best: bool,
    rest_at: float,
    frames: int,
    on_step: Callable[[int, int], None] = lambda step, active: None,
) -> Walk:
    """Minimise each sample's objective over its code with Adam, its k following its own losses.

    A sample's walk depends on nothing but itself: losses are summed, k and Adam's moments are per sample.

    Args:
        evaluate: (codes `(n, D)`, rows `(n,)` that they belong to, step) → terms `(n,)`.
        start: first codes, `(N, D)`.
        origin: z0, `(N, D)`, the centre of the ball of radius `strength`.
        weights: of the terms other than the victim's.
        multiplier: the rule that k follows.
        steps: Adam steps.
        learning_rate: of Adam.
        strength: largest ‖z − z0‖₂, or None for no bound.
        aim: the probability of y that the victim must keep for a code to count as kept.
        keep_best: end at the code with the best score and let a sample that is believed enough rest;
            otherwise end at the last code.
        rest_at: the probability of y' that the proxies must give a kept sample for it to rest.
        frames: how many evenly spaced steps are recorded.
        on_step: told each step and how many samples are still walking.
    """
    count = len(start)
    codes = project(start, origin, strength)
    k = start.new_full((count,), multiplier.start)
    first, second = torch.zeros_like(start), torch.zeros_like(start)
    best, best_score = codes.clone(), start.new_full((count,), -torch.inf)
    best_step = torch.zeros(count, dtype=torch.long, device=start.device)
    recorded = recorded_steps(steps, frames)
    path, history, latest = [], [], {}
    active = torch.arange(count, device=start.device)

    for step in range(steps + 1):
        if len(active):
            z = codes[active].requires_grad_()
            terms = evaluate(z, active, step)
            victim = k[active] * multiplier.loss(terms.log_odds)
            (gradient,) = torch.autograd.grad(terms.total(weights, victim).sum(), z)
            with torch.no_grad():
                now = score(terms, aim)
                better = active[now > best_score[active]] if keep_best else active
                best_score[active] = torch.maximum(now, best_score[active]) if keep_best else now
                best[better], best_step[better] = codes[better], step
                for name, value in {**terms.named(), "k": k[active]}.items():
                    latest.setdefault(name, start.new_zeros(count))[active] = value.detach()
        if step in recorded:
            path.append(codes.clone())
            history.append({name: value.clone() for name, value in latest.items()})
        if step == steps:
            break
        if not len(active):
            continue
        with torch.no_grad():
            resting = keep_best & (best_score[active] >= math.log(rest_at))
            codes[active[resting]] = best[active[resting]]
            moving = ~resting
            rows, gradient = active[moving], gradient[moving]
            first[rows] = ADAM_BETAS[0] * first[rows] + (1 - ADAM_BETAS[0]) * gradient
            second[rows] = ADAM_BETAS[1] * second[rows] + (1 - ADAM_BETAS[1]) * gradient.square()
            rate = learning_rate / (1 - ADAM_BETAS[0] ** (step + 1))
            scale = (second[rows] / (1 - ADAM_BETAS[1] ** (step + 1))).sqrt() + ADAM_EPSILON
            codes[rows] = project(codes[rows] - rate * first[rows] / scale, origin[rows], strength)
            k[rows] = multiplier.update(k[rows], terms.log_odds.detach()[moving], terms.f2.detach()[moving])
            active = rows
        on_step(step, len(active))

    with torch.no_grad():
        path[-1] = best
        end = evaluate(best, torch.arange(count, device=start.device), steps)
        history[-1] = {**end.named(), "k": k}
    stacked = {name: torch.stack([frame[name] for frame in history], dim=1) for name in history[-1]}
    return Walk(best, best_score, best_step, torch.stack(path, dim=1), stacked)


def project(codes: Tensor, origin: Tensor, strength: float | None) -> Tensor:
    """The nearest codes inside the ball of radius `strength` around `origin`; all `(N, D)`."""
    if strength is None:
        return codes.clone()
    offset = codes - origin
    length = offset.norm(dim=1, keepdim=True)
    return origin + offset * (strength / length.clamp(min=torch.finfo(codes.dtype).tiny)).clamp(max=1)
