"""The optimisation of codes and residuals: against torch's Adam on a quadratic, and its rules worked out by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from random_networks import make_attack
from torch import Tensor

from cam_adv.attacks.latent.objective import LossWeights, Terms
from cam_adv.attacks.latent.optimizer import OptimizationTrace, optimize_codes
from cam_adv.attacks.latent.penalty import DualAscent
from cam_adv.attacks.latent.search_space import project
from cam_adv.attacks.latent.walk import candidate_score

ONLY_NORM = LossWeights(f2=0, surrogates=0, discriminator=0, norm=1)
NO_PENALTY = DualAscent(start=0, rate=0, proportional_gain=0, confidence=0.9, target_margin=0, cap=0)


class AtStep:
    """A function (codes, rows, step) → terms as an objective."""

    def __init__(self, terms: Callable[[Tensor, Tensor, int], Terms]) -> None:
        self.terms, self.step = terms, 0

    def begin(self, step: int) -> None:
        self.step = step

    def __call__(self, codes: Tensor, rows: Tensor) -> Terms:
        return self.terms(codes, rows, self.step)


def quadratic(centre: Tensor) -> Callable[[Tensor, Tensor, int], Terms]:
    """½‖z − centre‖² as the term "norm", with a victim that always meets its criterion."""

    def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
        zero = codes.sum(dim=1) * 0
        return Terms(
            zero + 9, zero, zero, zero, 0.5 * (codes - centre[rows]).square().sum(dim=1), (zero - 5)[:, None]
        )

    return terms


def anywhere(variables: Tensor, rows: Tensor) -> Tensor:
    return variables.clone()


def minimise(centre: Tensor, start: Tensor, radius: float | None = None, **changes: Any) -> OptimizationTrace:
    options: dict[str, Any] = {
        "weights": ONLY_NORM,
        "steps": 40,
        "learning_rate": 0.1,
        "keep_best": False,
        "trace_points": 5,
    }

    def into_ball(variables: Tensor, rows: Tensor) -> Tensor:
        return project(variables, start[rows], radius)

    return optimize_codes(AtStep(quadratic(centre)), start, into_ball, NO_PENALTY, make_attack(**(options | changes)))


class TestOptimizeCodes:
    def test_update_is_torch_adam(self) -> None:
        centre = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        z = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([z], lr=0.1)
        path = [z.detach().clone()]
        for _ in range(40):
            optimizer.zero_grad()
            (0.5 * (z - centre).square().sum()).backward()
            optimizer.step()
            path.append(z.detach().clone())
        trace = minimise(centre, torch.zeros(3, 2, dtype=torch.float64))
        assert torch.allclose(trace.variables, path[-1], atol=1e-10)
        recorded = torch.stack([path[step] for step in (0, 10, 20, 30, 40)], dim=1)
        assert torch.allclose(trace.path, recorded, atol=1e-10)
        assert trace.steps.tolist() == [40, 40, 40]

    @pytest.mark.parametrize("radius", [0.0, 0.3, 1.0])
    def test_path_stays_where_it_is_projected(self, radius: float) -> None:
        centre = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * 5
        trace = minimise(centre, torch.zeros(6, 3), radius)
        assert trace.path.norm(dim=2).max() <= radius + 1e-6
        assert torch.allclose(trace.variables.norm(dim=1), torch.full((6,), radius), atol=1e-5)

    def test_best_code_is_kept_and_confident_sample_stops(self) -> None:
        """The proxies' probability of sample 0 is high enough from step 3 on; sample 1 is best at step 5; sample 2
        never meets the victim's criterion."""
        proxy_log_prob = {0: [-5, -5, -5, -0.01, -0.005, 0, 0, 0], 1: [-5, -4, -3, -2, -2, -1, -3, -3], 2: [0.0] * 8}
        victim = {0: [9.0] * 8, 1: [9.0] * 8, 2: [-3.0, -2, -1, -2, -3, -3, -3, -3]}
        evaluated: list[list[int]] = []

        def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
            evaluated.append(rows.tolist())
            pick = lambda table: torch.tensor([table[row][step] for row in rows.tolist()])  # noqa: E731
            zero = codes.sum(dim=1) * 0
            log_prob = (zero + pick(proxy_log_prob))[:, None]
            return Terms(zero + pick(victim), zero, zero, zero, codes.sum(dim=1), log_prob)

        start = torch.zeros(3, 1)
        attack = make_attack(weights=ONLY_NORM, steps=7, learning_rate=0.1, early_stop_prob=0.9, trace_points=8)
        trace = optimize_codes(AtStep(terms), start, anywhere, NO_PENALTY, attack)
        assert trace.steps.tolist() == [3, 5, 2]
        # The final codes are evaluated once more, with the last column of the tables.
        assert trace.score.tolist() == pytest.approx([0.0, -3.0, -1e4 - 3])
        assert evaluated[:4] == [[0, 1, 2]] * 4
        assert evaluated[4:-1] == [[1, 2]] * 4
        assert trace.variables[:, 0].tolist() == pytest.approx([-0.3, -0.5, -0.2], abs=1e-4)

    @pytest.mark.parametrize("keep_best", [True, False])
    @pytest.mark.parametrize("where", ["term", "gradient"])
    def test_diverging_sample_returns_its_best_code_and_others_continue(self, keep_best: bool, where: str) -> None:
        """Sample 1 gets NaN at step 3, in a term or in its gradient alone; sample 0 is optimised as if alone."""
        centre = torch.tensor([[1.0], [1.0]])

        def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
            found = quadratic(centre)(codes, rows, step)
            bad = (rows == 1) & (step == 3)
            if where == "term":
                return replace(found, norm=found.norm.masked_fill(bad, torch.nan))
            if codes.requires_grad:
                codes.register_hook(lambda gradient: gradient.masked_fill(bad[:, None], torch.nan))
            return found

        start = torch.zeros(2, 1)
        attack = make_attack(
            weights=ONLY_NORM, steps=6, learning_rate=0.1, early_stop_prob=0.9, trace_points=7, keep_best=keep_best
        )
        trace = optimize_codes(AtStep(terms), start, anywhere, NO_PENALTY, attack)
        alone = optimize_codes(AtStep(quadratic(centre)), start[:1], anywhere, NO_PENALTY, attack)
        assert trace.diverged.tolist() == [False, True]
        assert torch.equal(trace.path[:1], alone.path)
        assert trace.variables.isfinite().all()
        assert trace.steps.tolist() == [int(alone.steps), 0 if keep_best else 2]
        assert trace.variables[1].item() == pytest.approx(0 if keep_best else 0.2, abs=0.02)


def test_candidate_score_ranks_codes_that_meet_the_criterion_first() -> None:
    """The victim's probabilities are 0.95, 0.91, 0.5, 0.1; the proxies decide only between the first two."""
    log_odds = torch.tensor([0.95, 0.91, 0.5, 0.1]).logit()
    proxy_log_prob = torch.tensor([-3.0, -0.1, 0.0, 0.0])
    zero = torch.zeros(4)
    terms = Terms(log_odds, zero, zero, zero, zero, proxy_log_prob[:, None])
    ranks = candidate_score(terms, 0.9, 0.0, ONLY_NORM).argsort(descending=True)
    assert ranks.tolist() == [1, 0, 2, 3]


def test_candidate_score_margin_raises_the_criterion() -> None:
    """Log-odds of 2.5 meet a confidence of 0.9, log-odds 2.197, but not with a margin of 0.5."""
    zero = torch.zeros(1)
    terms = Terms(torch.tensor([2.5]), zero, zero, zero, zero, torch.tensor([[-0.7]]))
    assert candidate_score(terms, 0.9, 0.0, ONLY_NORM).item() == pytest.approx(-0.7)
    assert candidate_score(terms, 0.9, 0.5, ONLY_NORM).item() == pytest.approx(-1e4 + 2.5)


def test_candidate_score_prefers_codes_near_the_data() -> None:
    """With a weight of 0.3 an excess of 10 nats costs as much as a log-probability of −3; with 0 it costs nothing."""
    zero = torch.zeros(3)
    proxy_log_prob, density = torch.tensor([-0.5, -0.5, -1.0]), torch.tensor([10.0, 0.0, 1.0])
    terms = Terms(zero + 9, zero, zero, zero, zero, proxy_log_prob[:, None], density=density)
    near = LossWeights(f2=0, surrogates=0, discriminator=0, norm=1, density=0.3)
    assert candidate_score(terms, 0.9, 0.0, near).tolist() == pytest.approx([-3.5, -0.5, -1.3])
    assert candidate_score(terms, 0.9, 0.0, ONLY_NORM).tolist() == pytest.approx([-0.5, -0.5, -1.0])


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_candidate_score_of_any_code_that_meets_the_criterion_is_higher(seed: int) -> None:
    """Also far from the data, where the density costs thousands of nats."""
    generator = torch.Generator().manual_seed(seed)

    def draw(scale: float) -> Tensor:
        return scale * torch.rand(20, generator=generator)

    log_odds, zero = draw(40.0) - 20, torch.zeros(20)
    terms = Terms(log_odds, zero, zero, zero, zero, -draw(90.0)[:, None], density=draw(1e5), cam=draw(2.0))
    weights = LossWeights(f2=1, surrogates=1, discriminator=0, norm=0, density=3, cam=1)
    score, meets = candidate_score(terms, 0.9, 0.1, weights), log_odds >= math.log(9) + 0.1
    assert meets.any()
    assert not meets.all()
    assert score[meets].min() > score[~meets].max()
    assert (score[~meets].diff() * log_odds[~meets].diff()).min() >= 0  # in the order of the log-odds


def test_merge_better_replaces_rows_of_higher_score() -> None:
    def trace(values: list[float], scores: list[float]) -> OptimizationTrace:
        column = torch.tensor(values)
        return OptimizationTrace(
            variables=column[:, None],
            score=torch.tensor(scores),
            start=torch.zeros(len(values), dtype=torch.long),
            steps=torch.full((len(values),), 2),
            diverged=torch.zeros(len(values), dtype=torch.bool),
            path=column[:, None, None],
            terms={"k": column[:, None]},
        )

    first, second = trace([1.0, 2.0, 3.0], [-1.0, -5.0, -5.0]), trace([20.0, 30.0], [-2.0, -9.0])
    merged = first.merge_better(torch.tensor([1, 2]), second.with_start(1, steps_before=7))
    assert merged.variables.flatten().tolist() == [1, 20, 3]
    assert merged.score.tolist() == [-1, -2, -5]
    assert merged.start.tolist() == [0, 1, 0]
    assert merged.steps.tolist() == [2, 9, 2]
    assert merged.path.flatten().tolist() == merged.terms["k"].flatten().tolist() == [1, 20, 3]
