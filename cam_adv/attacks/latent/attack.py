"""The latent attack of Type I or II: its settings, its starts, and which of its results is kept."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, Self

import torch
from hydra.utils import instantiate
from pydantic import Field, model_validator
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, AttackModels, Role, StepCallback
from cam_adv.attacks.latent.cam_constraint import CAMConstraint
from cam_adv.attacks.latent.initializers import RealImageInitializer
from cam_adv.attacks.latent.interpretation_constraint import InterpretationConstraint
from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.attacks.latent.objective import ExplanationConstraint, LossWeights, Terms, evaluate
from cam_adv.attacks.latent.optimizer import OptimizationTrace, optimize_codes
from cam_adv.attacks.latent.pace import pace_on
from cam_adv.attacks.latent.search_space import ResidualSettings, SearchSpace
from cam_adv.attacks.latent.step_draws import StepDraws, random_shift_and_noise
from cam_adv.attacks.result import AttackResult
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.surrogates import GeneratorClassifier
from cam_adv.schema.attribution import RobustSettings
from cam_adv.schema.fields import Count, Index, NotNegative, Positive, Share, StrictModel, Target


class LatentNoise(StrictModel):
    """f2's loss is averaged over a neighbourhood of z.

    samples: draws of z + spread·sigma·eps.
    spread: in standard deviations sigma of the posterior of x.
    """

    samples: Count
    spread: NotNegative


class ProxyAugmentation(StrictModel):
    """The proxies classify a randomly shifted and noisy copy of G(z).

    noise: standard deviation, for pixels in [0, 1].
    shift: largest shift along each axis, in pixels.
    """

    noise: NotNegative
    shift: Index


class LatentAttack(Attack):
    """Type I: turns images of class y into images of class y' that the victim still calls y.
    Type II: turns them into images that are still of class y and that the victim calls y'.

    Both optimise the code z of the image x' = G(z) (Tang et al. 2019, arXiv 1809.00594), and with a `residual` the
    pixels δ of x' = clip(G(z) + δ, 0, 1) together with it (Song et al. 2018, arXiv 1805.07894). The victim's label is
    what the victim must predict for x': y under Type I, y' under Type II. The perceived label is what a person must
    see: y' under Type I, y under Type II. The proxies, which stand in for a person, are the surrogates and the
    generator's own classifier of images, f2(mu(x')).

    strength: largest latent distance ‖z − z0‖₂; None: unbounded.
    residual: the ball of δ; see `ResidualSettings`.
    confidence: the victim's probability of the victim's label that a result must reach.
    margin: how much further the victim's log-odds must be before a code counts as reaching it.
    steps, learning_rate: of Adam, from each start.
    init: the starts, tried in this order. "mean": the posterior mean of x. "class_shift": the posterior mean of x,
        plus the mean code of training images of y', less that of y (latent arithmetic, Radford et al. 2016, arXiv
        1511.06434, section 6.3.2). "real_image": the code of a real image of the perceived class, drawn among those
        for which the victim's log-odds of the victim's label are highest; the second "real_image" is another one,
        and so on.
    init_candidates: number of the best real images that are drawn from, so that results don't share their start.
    init_distance_weight: log-odds that one unit of latent distance from z0 costs a real image in that ranking.
    keep_best: return the best code found instead of the last.
    proxies_per_step: number of proxies that are evaluated in a step, in turn.
    early_stop_prob: a sample that meets the victim's criterion stops once its score is at least the log of this: the
        proxies' probability of the perceived label, less what the density and the CAM cost (`candidate_score`).
    restart_below_prob: the next start is tried where the score is below the log of this.
    cuda_graphs: on a GPU, repeat steps as recorded CUDA graphs (`RecordedSteps`), unless networks are compiled.
    weights: of the terms of the objective.
    interpretation: the robust interpretation, as the attacker knows it, that must not abstain on x', and whose map
        must stay as on x; None: no such constraint.
    penalty: the schedule of the multiplier k; see `cam_adv.attacks.latent.penalty`.
    """

    steps: Count
    learning_rate: Positive
    confidence: Share
    margin: NotNegative
    init: Annotated[list[Literal["mean", "class_shift", "real_image"]], Field(min_length=1)]
    init_candidates: Count
    init_distance_weight: NotNegative
    residual: ResidualSettings
    keep_best: bool
    proxies_per_step: Count
    early_stop_prob: Share
    restart_below_prob: Share
    cuda_graphs: bool = True
    weights: LossWeights
    latent_noise: LatentNoise
    views: ProxyAugmentation
    penalty: Target
    interpretation: RobustSettings | None = None

    @property
    def roles(self) -> frozenset[Role]:
        """See `Attack.roles`."""
        roles: set[Role] = {"victim", "generator"}
        return frozenset(roles | {"surrogates"} if self.uses_proxies else roles)

    @property
    def needs_exact_cam(self) -> bool:
        """See `Attack.needs_exact_cam`."""
        return self.weights.cam > 0 or self.interpretation is not None

    @property
    def attacked_interpretation(self) -> RobustSettings | None:
        """See `Attack.attacked_interpretation`."""
        return self.interpretation

    @property
    def uses_train_images(self) -> bool:
        """See `Attack.uses_train_images`."""
        return self.weights.density > 0 or "class_shift" in self.init

    @property
    def uses_real_images(self) -> bool:
        """See `Attack.uses_real_images`."""
        return "real_image" in self.init

    @property
    def start_names(self) -> list[str]:
        """See `Attack.start_names`."""
        return list(self.init)

    @property
    def steps_per_init(self) -> int:
        """See `Attack.steps_per_init`."""
        return self.steps

    @property
    def uses_proxies(self) -> bool:
        """Whether the objective has proxies."""
        return self.weights.surrogates > 0

    def with_confidence(self, confidence: float) -> Self:
        """See `Attack.with_confidence`; the constraint of the penalty asks for it, too.

        The published rule for k has no confidence: then the attack is the same, and another number of its images
        counts.
        """
        penalty = self.penalty | ({"confidence": confidence} if "confidence" in self.penalty else {})
        return self.model_copy(update={"confidence": confidence, "penalty": penalty})

    def prepare(self, models: AttackModels, seed: int) -> "Prepared":
        """The real images to start from and the density of real codes, each if the attack uses it.

        Raises:
            UserError: the attack needs real images, but there are none.
        """
        generator, initializer, density = _generator(models), None, None
        if self.uses_real_images:
            if models.real is None:
                raise UserError(
                    "attack.init has real_image, but there are no real images to start from.",
                    "Give real images, or set attack.init to [mean].",
                )
            proxies = self._proxies(models)
            initializer = RealImageInitializer(
                models.real, models.victim, generator, proxies, self.init_distance_weight, self.init_candidates, seed
            )
        if self.uses_train_images:
            if models.train_images is None:
                if "class_shift" in self.init:
                    raise UserError(
                        f"attack.init={self.init} starts from mean codes of training images, but there are none.",
                        "Give training images, or set attack.init to [mean].",
                    )
                raise UserError(
                    f"attack.weights.density={self.weights.density} keeps codes near those of training images, but "
                    "there are none.",
                    "Give training images, or set attack.weights.density to 0.",
                )
            density = LatentDensity.of(generator, models.train_images)
        return Prepared(initializer, density)

    def run(
        self,
        models: AttackModels,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        *,
        seed: int,
        prepared: nn.Module | None,
        on_step: StepCallback,
    ) -> AttackResult:
        """See `Attack.run`.

        Raises:
            UserError: `weights.cam` constrains the CAM of a victim without an exact CAM.
        """
        assert isinstance(prepared, Prepared)  # from `prepare`
        generator = _generator(models)
        victim_label, perceived_label = (y, target) if self.kind == "type1" else (target, y)
        with torch.no_grad():
            encoded = generator.invert(x)
            posterior = Posterior(encoded.mean.to(x.dtype), encoded.std.to(x.dtype))
        constraint = self._constraint(models, x, victim_label, perceived_label)
        proxies, penalty = self._proxies(models), instantiate(self.penalty)
        space = SearchSpace(posterior.mean.shape[1], tuple(x.shape[1:]), self.strength, self.residual)
        rows = torch.arange(len(x), device=x.device)
        first_codes = torch.empty_like(posterior.mean)
        best: OptimizationTrace | None = None
        for number in range(len(self.init)):
            mean, std = posterior.mean[rows], posterior.std[rows]
            labels = victim_label[rows], perceived_label[rows]
            codes = generator.with_class(self._start(number, x[rows], mean, *labels, prepared), perceived_label[rows])
            steps_before = number * self.steps
            objective = LatentObjective(
                self,
                models,
                proxies,
                space,
                Posterior(mean, std),
                *labels,
                prepared.density if self.weights.density > 0 else None,
                None if constraint is None else constraint.rows(rows),
                seed,
            )
            trace = optimize_codes(
                objective,
                space.start(codes),
                partial(_projected, space, generator.with_class(mean, perceived_label[rows])),
                penalty,
                self,
                pace_on(x.device, self.cuda_graphs and not models.is_compiled),
                partial(_shifted, on_step, steps_before),
            )
            trace = trace.with_start(number, steps_before)
            best = trace if best is None else best.merge_better(rows, trace)
            first_codes[rows] = torch.where((best.start[rows] == number).unsqueeze(1), codes, first_codes[rows])
            rows = (best.score < math.log(self.restart_below_prob)).nonzero().squeeze(1)
            if not len(rows):
                break
        assert best is not None  # `init` has one start or more
        with torch.no_grad():
            x_adv = space.images(generator, best.variables).to(x.dtype)
        return AttackResult(
            x=x,
            x_adv=x_adv,
            y=y,
            target=target,
            start=best.start,
            steps=best.steps,
            diverged=best.diverged,
            terms=best.terms,
            z0=posterior.mean,
            z_start=first_codes,
            z=space.codes(best.variables).clone(),
            path=space.codes(best.path).clone(),
            residual_path=space.residuals(best.path),
        )

    def _proxies(self, models: AttackModels) -> Sequence[nn.Module]:
        return [*models.surrogates, GeneratorClassifier(_generator(models))] if self.uses_proxies else []

    def _constraint(
        self, models: AttackModels, x: Tensor, victim_label: Tensor, perceived_label: Tensor
    ) -> ExplanationConstraint | None:
        """What the attack keeps of the explanations of x, if anything."""
        if self.interpretation is not None:
            assert models.interpretation is not None  # `BoundAttack` has made sure of it
            return InterpretationConstraint.of(
                models.interpretation, self.confidence, x, victim_label, perceived_label
            )
        return CAMConstraint.of(models.victim, x, victim_label) if self.weights.cam > 0 else None

    def _start(
        self,
        number: int,
        x: Tensor,
        z0: Tensor,
        victim_label: Tensor,
        perceived_label: Tensor,
        prepared: "Prepared",
    ) -> Tensor:
        """The first codes `(N, D)` of the start with index `number`."""
        kind = self.init[number]
        if kind == "mean":
            return z0
        if kind == "class_shift":
            assert prepared.density is not None  # from `prepare`
            means = prepared.density.means.to(z0.dtype)
            return z0 + means[perceived_label] - means[victim_label]
        assert prepared.initializer is not None  # from `prepare`
        rank = self.init[:number].count(kind)
        return prepared.initializer.start(rank, x, z0, victim_label, perceived_label, self.restart_below_prob)

    @model_validator(mode="after")
    def _type2_stays_at_its_image(self) -> Self:
        if self.kind == "type1":
            return self
        if self.init != ["mean"]:
            raise UserError(
                f"attack.init={self.init}, but {self.name} is a Type II attack, which keeps its image and starts at "
                "that image's own code.",
                "Set attack.init to [mean].",
            )
        if self.interpretation is not None:
            raise UserError(
                f"attack.interpretation is that of the class that the victim keeps, but {self.name} is a Type II "
                "attack, under which the victim keeps no class.",
                "Use attack.interpretation=null, or attack=type1_robust.",
            )
        if self.needs_exact_cam:
            raise UserError(
                f"attack.weights.cam={self.weights.cam} constrains the map of the class that the victim keeps, but "
                f"{self.name} is a Type II attack, under which the victim keeps no class.",
                "Use attack.weights.cam=0, or attack=type1_cam.",
            )
        return self


class Prepared(nn.Module):
    """What a latent attack computes once: real images to start from, and the density of training images' codes."""

    def __init__(self, initializer: RealImageInitializer | None, density: LatentDensity | None) -> None:
        super().__init__()
        self.initializer = initializer
        self.density = density


class LatentObjective:
    """The terms of the objective; see `cam_adv.attacks.latent.walk.Objective`.

    A step evaluates only some of the proxies; for the others it repeats their latest log-probabilities.
    """

    def __init__(
        self,
        attack: LatentAttack,
        models: AttackModels,
        proxies: Sequence[nn.Module],
        space: SearchSpace,
        posterior: Posterior,
        victim_label: Tensor,
        perceived_label: Tensor,
        density: LatentDensity | None,
        constraint: ExplanationConstraint | None,
        seed: int,
    ) -> None:
        """All tensors have N rows, one for each sample."""
        self.attack, self.models, self.proxies, self.space = attack, models, proxies, space
        self.std, self.density, self.constraint = posterior.std, density, constraint
        self.victim_label, self.perceived_label = victim_label, perceived_label
        samples, shift = attack.latent_noise.samples, attack.views.shift
        self.draws = StepDraws(seed, attack.steps, samples, space.latent_size, space.image_shape, shift)
        self.queried: tuple[int, ...] = ()
        self.proxy_log_probs = posterior.mean.new_empty(len(victim_label), max(1, len(proxies)))

    def begin(self, step: int) -> tuple[int, ...]:
        """Prepare a step; the indices of the proxies that it evaluates."""
        self.draws.load(step, self.std)
        self.queried = self._queried_proxies(step)
        return self.queried

    def __call__(self, variables: Tensor, rows: Tensor) -> Terms:
        """See `cam_adv.attacks.latent.walk.Objective`."""
        generator, views, draws = _generator(self.models), self.attack.views, self.draws.now
        # As a constant, so that no gradient reaches the class that a class-conditional generator draws.
        codes = generator.with_class(self.space.codes(variables), self.perceived_label[rows])
        terms = evaluate(
            self.models.victim,
            generator,
            [self.proxies[number] for number in self.queried],
            codes,
            self.space.images(generator, variables),
            self.attack.latent_noise.spread * self.std[rows],
            self.victim_label[rows],
            self.perceived_label[rows],
            draws.eps,
            lambda images: random_shift_and_noise(images, views.noise, draws),
            self.density,
            None if self.constraint is None else self.constraint.rows(rows),
        )
        latest = self.proxy_log_probs[rows]
        for column, number in enumerate(self.queried or [0]):
            latest[:, number] = terms.proxy_log_probs[:, column].detach()
        self.proxy_log_probs.index_copy_(0, rows, latest)
        return replace(terms, proxy_log_probs=latest)

    def _queried_proxies(self, step: int) -> tuple[int, ...]:
        """Indices of the proxies of a step: all at the first and the last step, else the next ones in turn."""
        count, some = len(self.proxies), self.attack.proxies_per_step
        if step in (0, self.attack.steps) or some >= count:
            return tuple(range(count))
        return tuple((step * some + number) % count for number in range(some))


def _projected(space: SearchSpace, z0: Tensor, variables: Tensor, rows: Tensor) -> Tensor:
    return space.project(variables, z0[rows])


def _shifted(on_step: StepCallback, steps_before: int, step: int, active: int) -> None:
    on_step(steps_before + step, active)


def _generator(models: AttackModels) -> Generator:
    assert models.generator is not None  # it is in `roles`
    return models.generator
