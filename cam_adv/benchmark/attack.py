"""The cost of latent attacks: time per success, time per step, and how time and memory scale."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn import functional

from cam_adv.api import load
from cam_adv.attacks.base import BoundAttack
from cam_adv.attacks.batch_size import CPU_BATCH
from cam_adv.attacks.latent.attack import LatentAttack, Prepared
from cam_adv.attacks.runner import run_attack
from cam_adv.benchmark.comparison import Comparison, compare, compare_pairs, timed
from cam_adv.benchmark.machine import count_flops, peak_memory
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection, select
from cam_adv.metrics.success import type1_verdict
from cam_adv.models.predictions import batched_apply
from cam_adv.models.surrogates import GeneratorClassifier
from cam_adv.studies.context import StudyContext

IMAGES = 256
TANG_STEPS = 100
"""Steps of the published attack that are timed; it takes 20,001."""

STEPS = 20
SIZES = (64, 4096)
SCALING_STEPS = 10


def seconds_per_success(repeats: int) -> Comparison:
    """Seconds per successful image of `type1`; see `_per_success`."""
    return _per_success("type1", repeats)


def seconds_per_fast_success(repeats: int) -> Comparison:
    """Seconds per successful image of `type1_fast`; see `_per_success`."""
    return _per_success("type1_fast", repeats)


def _per_success(name: str, repeats: int) -> Comparison:
    """Seconds per successful Type I example on the 5,000 digits; trains models that the store lacks.

    Some steps of the published attack are timed, and all its attacks are counted as successes: the speedup is a lower
    bound. The exact value takes all of its steps, as in a sweep over attack=type1,tang2018.
    """
    ours, published = (load("outputs=outputs", f"attack={attack}") for attack in (name, "tang2018"))
    config = latent_attack(published)
    short = published.bind(config.model_copy(update={"steps": TANG_STEPS, "trace_points": 2}))
    selection = repeated_selection(ours, IMAGES)
    images = selected_images(published, selection)
    rates: list[float] = []

    def attack() -> None:
        x_adv = _attack(ours.bind(), *selected_images(ours, selection), CPU_BATCH)
        rates.append(successes(ours, selection, x_adv).double().mean().item())

    def per_success() -> float:
        seconds = timed(attack)()
        return seconds / (rates[-1] * IMAGES)

    per_attack = timed(lambda: _attack(short, *images, CPU_BATCH), config.steps / TANG_STEPS / IMAGES)
    pairs = [(per_success(), per_attack()) for _ in range(2 if repeats >= 10 else 1)]
    baseline = f"tang2018, timed on {TANG_STEPS} of {config.steps:,} steps, as if each succeeded"
    return compare_pairs(f"a success of {name}, {IMAGES} images, gap_cnn", baseline, pairs, "s", 300.0)


def tang2018_step(repeats: int) -> Comparison:
    """Decoder, victim, f2 and discriminator, forward and backward to z."""
    return _step(load("outputs=outputs", "attack=tang2018"), "step of tang2018, batch 256", repeats)


def type1_step(repeats: int) -> Comparison:
    """The same with one of the proxies and the latent noise, as in type1."""
    return _step(load("outputs=outputs"), "step of type1, batch 256", repeats)


def scaling_in_images(_: int) -> Comparison:
    """Seconds per image for 64 and for 4,096 images, with the trainer and the files of a run."""
    context = load("outputs=outputs", f"attack.steps={SCALING_STEPS}", "attack.init=[mean]")
    few, many = SIZES
    cost = {size: timed_run(context, size) for size in SIZES}
    return compare(f"one of {many:,} images", cost[many], f"one of {few}", cost[few], 1, "s")


def scaling_in_steps(repeats: int) -> Comparison:
    """Seconds per step for 40 and for 10 steps."""
    short, long = (
        load("outputs=outputs", f"attack.steps={steps}", "attack.init=[mean]", "attack.early_stop_prob=0.999999")
        for steps in (SCALING_STEPS, 4 * SCALING_STEPS)
    )
    few, many = timed_run(short, IMAGES, 1 / SCALING_STEPS), timed_run(long, IMAGES, 0.25 / SCALING_STEPS)
    baseline = f"one of {SCALING_STEPS}, {IMAGES} images"
    return compare(f"one of {4 * SCALING_STEPS} steps", many, baseline, few, max(1, repeats // 5), "s")


def memory_scaling(_: int) -> Comparison:
    """Peak memory of an attack on 4,096 images and on 256 images, in one process, the small one first."""
    context = load("outputs=outputs", f"attack.steps={SCALING_STEPS}", "attack.init=[mean]")
    peaks = []
    for size in (IMAGES, SIZES[-1]):
        timed_run(context, size)()
        peaks.append(peak_memory() / 1e9)
    return compare_pairs(f"memory of an attack on {SIZES[-1]:,} images", f"on {IMAGES}", [(peaks[1], peaks[0])], "GB")


def repeated_selection(context: StudyContext, count: int) -> Selection:
    """Correctly classified test images, repeated from the first one if there are too few."""
    test = context.splits.test
    correct = context.correct(test)
    distinct = min(count, int(correct.sum()))
    selection = select(test.labels, correct, context.splits.class_names, distinct, None, "random", 0)
    rows = torch.arange(count) % len(selection)
    return Selection(selection.index[rows], selection.y[rows], selection.target[rows])


def latent_attack(context: StudyContext) -> LatentAttack:
    """The context's attack."""
    assert isinstance(context.attack, LatentAttack)  # as the overrides name it
    return context.attack


def selected_images(
    context: StudyContext, selection: Selection, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and y' of a selection."""
    x = to_unit_range(context.splits.test.images[selection.index].to(device))
    return x, selection.y.to(device), selection.target.to(device)


def successes(context: StudyContext, selection: Selection, x_adv: Tensor) -> Tensor:
    """On which selected images the context's attack succeeded, `(N,)`, by its results `(N, C, H, W)`."""
    victim = batched_apply(context.victim, x_adv, context.device).softmax(dim=1)
    reads = context.judge.read(x_adv, context.device).reads
    return type1_verdict(victim, reads, selection.y, selection.target, latent_attack(context).confidence).success


def _attack(attack: BoundAttack, x: Tensor, y: Tensor, target: Tensor, batch_size: int) -> Tensor:
    batches = zip(x.split(batch_size), y.split(batch_size), target.split(batch_size), strict=True)
    return torch.cat([attack(*batch).x_adv for batch in batches])


def timed_run(context: StudyContext, count: int, share: float | None = None) -> Callable[[], float]:
    """The seconds of an attack as in a run, per image or times `share`."""
    selection, attack = repeated_selection(context, count), context.bind()

    def work() -> None:
        with TemporaryDirectory() as folder:
            run_attack(attack, context.splits.test, selection, context.settings.hardware, Path(folder))

    return timed(work, 1 / count if share is None else share)


def _step(context: StudyContext, case: str, repeats: int) -> Comparison:
    config = latent_attack(context).model_copy(
        update={"steps": STEPS, "trace_points": 2, "init": ["mean"], "keep_best": False}
    )
    attack, images = context.bind(config), selected_images(context, repeated_selection(context, IMAGES))
    bare = BareParts(attack, *images)

    def bare_steps() -> None:
        for number in range(STEPS + 1):  # the attack also evaluates the code after its last step
            bare.step(number)

    share = 1 / STEPS
    return compare(
        case,
        timed(lambda: attack(*images), share),
        "its bare parts",
        timed(bare_steps, share),
        max(2, repeats // 5),
        "s",
        1 / 1.1,
        count_flops(bare_steps) / STEPS,
    )


class BareParts:
    """The networks of a latent attack's step, forward and backward, without anything else."""

    def __init__(self, attack: BoundAttack, x: Tensor, y: Tensor, target: Tensor) -> None:
        """Images `(N, C, H, W)` in [0, 1], labels and targets `(N,)`, on the device of the networks."""
        config, models, prepared = attack.attack, attack.models, attack.prepared
        assert isinstance(config, LatentAttack)
        assert isinstance(prepared, Prepared)
        assert models.generator is not None
        for network in attack.networks:
            network.requires_grad_(False)
        self.victim, self.generator, self.density = models.victim, models.generator, prepared.density
        self.has_residual = config.residual.eps > 0
        self.proxies = [*models.surrogates, GeneratorClassifier(models.generator)] if config.uses_proxies else []
        self.y, self.target, self.zeros = y, target, torch.zeros_like(x)
        with torch.no_grad():
            self.z0 = models.generator.encode(x).mean
        samples = config.latent_noise.samples
        eps = torch.randn(samples, self.z0.shape[1], generator=torch.Generator().manual_seed(0))
        self.eps, self.repeated_target = eps.to(x.device), target.repeat_interleave(samples)

    def step(self, number: int) -> None:
        """One step, with one of the proxies."""
        z, delta = self.z0.clone().requires_grad_(), self.zeros.clone().requires_grad_()
        images = self.generator.decode(z)
        if self.has_residual:
            images = (images + delta).clamp(0, 1)
        loss = functional.cross_entropy(self.victim(images), self.y, reduction="sum")
        cloud = (z[:, None] + self.eps).flatten(0, 1)
        f2 = self.generator.classifier(cloud)
        loss = loss + functional.cross_entropy(f2, self.repeated_target, reduction="sum")
        loss = loss + functional.softplus(-self.generator.discriminator(z)).sum()
        if self.density is not None:
            loss = loss + self.density.excess(z, self.target).sum()
        if self.proxies:
            proxy = self.proxies[number % len(self.proxies)]
            loss = loss + functional.cross_entropy(proxy(images), self.target, reduction="sum")
        torch.autograd.grad(loss, [z, delta] if self.has_residual else [z])
