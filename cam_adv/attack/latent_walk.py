"""The optimisation of latent codes: plain tensors and functions, nothing of Lightning, Hydra or files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cam_adv.attack.multiplier import Multiplier, logit
from cam_adv.attack.objective import Terms
from cam_adv.settings import LatentAttackSettings

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class Walk:
    """Where a walk ended and how it went there.

    codes: `(N, D)`, the codes at the end.
    score: `(N,)`, how good the end is; see `score`.
    start: `(N,)`, which of the attack's starts the walk began at.
    steps: `(N,)`, the step at which the end was met, counted from the first start.
    diverged: `(N,)`, whether a term or its gradient was NaN or infinite; such a walk ends at the best code before it.
    path: `(N, F, D)`, codes at the recorded steps; the last is the end.
    terms: name → `(N, F)`, terms of the objective and k at the codes of the path.
    """

    codes: Tensor
    score: Tensor
    start: Tensor
    steps: Tensor
    diverged: Tensor
    path: Tensor
    terms: dict[str, Tensor]

    def begun_as(self, start: int, steps_before: int) -> "Walk":
        """The same walk as the attack's start number `start`, after `steps_before` steps from earlier ones."""
        return replace(self, start=torch.full_like(self.start, start), steps=self.steps + steps_before)

    def where_better(self, rows: Tensor, other: "Walk") -> "Walk":
        """This walk, with the rows `rows` `(n,)` replaced by those of `other` (n samples) that score higher."""
        better = other.score > self.score[rows]

        def merge(mine: Tensor, others: Tensor) -> Tensor:
            return mine.index_copy(0, rows[better], others[better])

        columns = ("codes", "score", "start", "steps", "diverged", "path")
        merged = {name: merge(getattr(self, name), getattr(other, name)) for name in columns}
        terms = {name: merge(mine, other.terms[name]) for name, mine in self.terms.items()}
        return Walk(**merged, terms=terms)


def score(terms: Terms, confidence: float, margin: float) -> Tensor:
    """Rank codes, `(N,)`: those at which the victim says what it is to say come first, by how far the proxies believe
    what they are to see; y and y' in a Type I attack.

    Where the victim's log-odds are those of `confidence` and `margin` more, the score is `terms.believed`
    (a log-probability), less how far the map moved where an attack looks at it; elsewhere it is lower than any of
    these, and the lower the further the victim is from saying so.
    """
    lowest = -1e4  # far below the log of any probability that float32 can hold
    kept = terms.log_odds >= logit(confidence) + margin
    worth = terms.believed if terms.cam is None else terms.believed - terms.cam
    return torch.where(kept, worth, lowest + terms.log_odds)


def evenly_spaced(last: int, count: int) -> list[int]:
    """`count` whole numbers from 0 to `last`, evenly spaced, or all of them where there are fewer."""
    return torch.linspace(0, last, min(count, last + 1), dtype=torch.float64).round().long().tolist()


class Adam:
    """Adam (Kingma and Ba 2015) with moments for each sample, so that samples can leave one by one."""

    def __init__(self, codes: Tensor, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.first, self.second = torch.zeros_like(codes), torch.zeros_like(codes)

    def move(self, rows: Tensor, gradient: Tensor, step: int) -> Tensor:
        """What to add to the codes of `rows` `(n,)` after `step` earlier moves, given their gradient `(n, D)`."""
        beta1, beta2 = ADAM_BETAS
        self.first[rows] = beta1 * self.first[rows] + (1 - beta1) * gradient
        self.second[rows] = beta2 * self.second[rows] + (1 - beta2) * gradient.square()
        first = self.first[rows] / (1 - beta1 ** (step + 1))
        second = self.second[rows] / (1 - beta2 ** (step + 1))
        return -self.learning_rate * first / (second.sqrt() + ADAM_EPSILON)


def latent_walk(
    evaluate: Callable[[Tensor, Tensor, int], Terms],
    start: Tensor,
    origin: Tensor,
    multiplier: Multiplier,
    settings: LatentAttackSettings,
    on_step: Callable[[int, int], None] = lambda step, active: None,
) -> Walk:
    """Minimise each sample's objective over its code with Adam, its k following its own losses.

    A sample's walk depends on nothing but itself: losses are summed, k and Adam's moments are per sample. A sample
    that is kept and believed enough rests: it leaves the batch. So does one whose terms are no numbers any more.

    Args:
        evaluate: (codes `(n, D)`, rows `(n,)` that they belong to, step) → terms `(n,)`.
        start: first codes, `(N, D)`.
        origin: z0, `(N, D)`, the centre of the ball of radius `settings.strength`.
        multiplier: the rule that k follows.
        settings: `steps`, `learning_rate`, `weights`, `strength`, `confidence`, `margin`, `keep_best`, `rest_at` and
            `frames` of the attack.
        on_step: told each step that was done and how many samples are still walking.
    """
    count, device = len(start), start.device
    codes = project(start, origin, settings.strength)
    k = start.new_full((count,), multiplier.start)
    adam = Adam(codes, settings.learning_rate)
    best, best_score = codes.clone(), start.new_full((count,), -torch.inf)
    best_step = torch.zeros(count, dtype=torch.long, device=device)
    best_k = k.clone()
    diverged = torch.zeros(count, dtype=torch.bool, device=device)
    recorded = evenly_spaced(settings.steps, settings.frames)
    path, history, latest = [], [], {}
    walking = torch.arange(count, device=device)

    for step in range(settings.steps + 1):
        if len(walking):
            z = codes[walking].requires_grad_()
            terms = evaluate(z, walking, step)
            weight = multiplier.weight(k[walking], terms.log_odds.detach())
            victim = weight * multiplier.loss(terms.log_odds)
            total = terms.total(settings.weights, victim)
            (gradient,) = torch.autograd.grad(total.sum(), z)
            terms = terms.detach()
            lost = ~(total.isfinite() & gradient.isfinite().all(dim=1))
            diverged[walking[lost]] = True
            now = score(terms, settings.confidence, settings.margin)
            better = ~lost & (now > best_score[walking] if settings.keep_best else True)
            rows = walking[better]
            best[rows], best_score[rows], best_step[rows], best_k[rows] = codes[rows], now[better], step, k[rows]
            for name, value in {**terms.named(), "k": k[walking]}.items():
                latest.setdefault(name, start.new_zeros(count))[walking] = value
        if step in recorded:
            path.append(codes.clone())
            history.append({name: value.clone() for name, value in latest.items()})
        if step < settings.steps and len(walking):
            rests = lost | (settings.keep_best & (best_score[walking] >= math.log(settings.rest_at)))
            codes[walking[rests]] = best[walking[rests]]
            walking, gradient, terms = walking[~rests], gradient[~rests], terms.rows(~rests)
            moved = codes[walking] + adam.move(walking, gradient, step)
            codes[walking] = project(moved, origin[walking], settings.strength)
            k[walking] = multiplier.update(k[walking], terms.log_odds, terms.f2)
            on_step(step + 1, len(walking))

    with torch.no_grad():
        end = evaluate(best, torch.arange(count, device=device), settings.steps)
    # Where the end was met, some proxies' beliefs were a few steps old.
    best_score = score(end, settings.confidence, settings.margin).nan_to_num(nan=-math.inf)
    path[-1], history[-1] = best, {**end.named(), "k": best_k}
    stacked = {name: torch.stack([frame[name] for frame in history], dim=1) for name in history[-1]}
    began = torch.zeros_like(best_step)
    return Walk(best, best_score, began, best_step, diverged, torch.stack(path, dim=1), stacked)


def project(codes: Tensor, origin: Tensor, strength: float | None) -> Tensor:
    """The nearest codes inside the ball of radius `strength` around `origin`; all `(N, D)`."""
    if strength is None:
        return codes.clone()
    offset = codes - origin
    length = offset.norm(dim=1, keepdim=True)
    return origin + offset * (strength / length.clamp(min=torch.finfo(codes.dtype).tiny)).clamp(max=1)
