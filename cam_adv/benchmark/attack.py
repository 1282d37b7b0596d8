"""What latent attacks cost: successes in a second, one step beside its bare parts, and how both grow."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn import functional

from cam_adv.attack.batches import walk_batches
from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.selection import Selection, select
from cam_adv.benchmark.comparison import Comparison, compare, of_pairs, seconds
from cam_adv.benchmark.machine import operations, peak_memory
from cam_adv.evaluation.verdict import type1_verdict
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.settings import LatentAttackSettings
from cam_adv.toolbox import Toolbox, load

IMAGES = 256
SLICE = 100
"""Steps of the published walk that are timed; it takes 20,001."""

STEPS = 20
SIZES = (64, 4096)
GROWTH_STEPS = 10


def successes(repeats: int) -> Comparison:
    """Type I examples in a second, by the verdict of a run, on the 5,000 digits; trains what the store lacks.

    The published walk is timed on a slice of its steps, and every one is taken to end as a success: the ratio is the
    least that it can be. To know better takes all of its steps, as a sweep over attack=type1,tang2018 does.
    """
    ours, published = load("outputs=outputs"), load("outputs=outputs", "attack=tang2018")
    plan = published.settings.attack
    assert isinstance(plan, LatentAttackSettings)  # the overrides ask for one
    part = published.attack(plan.model_copy(update={"steps": SLICE, "frames": 2}))
    chosen = _chosen(ours, IMAGES)
    images = _images(published, chosen)
    found: list[float] = []

    def per_success() -> float:
        took = seconds(lambda: found.append(_success(ours, chosen)))()
        return took / (found[-1] * IMAGES)

    per_walk = seconds(lambda: _in_parts(part, *images, plan.batch_size), plan.steps / SLICE / IMAGES)
    pairs = [(per_success(), per_walk()) for _ in range(2 if repeats >= 10 else 1)]
    beside = f"tang2018, timed on {SLICE} of {plan.steps:,} steps, as if each succeeded"
    return of_pairs(f"a success of type1, {IMAGES} images, gap_cnn", beside, pairs, "s", 300.0)


def published_step(repeats: int) -> Comparison:
    """Decoder, victim, f2 and discriminator, forward and back to z."""
    return _step(load("outputs=outputs", "attack=tang2018"), "step of tang2018, batch 256", repeats)


def step(repeats: int) -> Comparison:
    """The same, with a proxy in turn and the latent noise, as type1 has them."""
    return _step(load("outputs=outputs"), "step of type1, batch 256", repeats)


def growth_in_images(_: int) -> Comparison:
    """Seconds an image for 64 and for 4,096 of them, through the trainer and the files of a run."""
    tools = load("outputs=outputs", f"attack.steps={GROWTH_STEPS}", "attack.starts=[mean]")
    few, many = SIZES
    cost = {size: _whole_attack(tools, size) for size in SIZES}
    return compare(f"{many:,} images, of each", cost[many], f"of each of {few}", cost[few], 1, "s")


def growth_in_steps(repeats: int) -> Comparison:
    """Seconds a step for 40 and for 10 of them."""
    short, long = (
        load("outputs=outputs", f"attack.steps={steps}", "attack.starts=[mean]", "attack.rest_at=0.999999")
        for steps in (GROWTH_STEPS, 4 * GROWTH_STEPS)
    )
    few, many = _whole_attack(short, IMAGES, 1 / GROWTH_STEPS), _whole_attack(long, IMAGES, 0.25 / GROWTH_STEPS)
    beside = f"of each of {GROWTH_STEPS}, {IMAGES} images"
    return compare(f"{4 * GROWTH_STEPS} steps, of each", many, beside, few, max(1, repeats // 5), "s")


def memory(_: int) -> Comparison:
    """Peak memory of an attack on 4,096 images beside one on 256, in one process, the small one first."""
    tools = load("outputs=outputs", f"attack.steps={GROWTH_STEPS}", "attack.starts=[mean]")
    peaks = []
    for size in (IMAGES, SIZES[-1]):
        _whole_attack(tools, size)()
        peaks.append(peak_memory() / 1e9)
    return of_pairs(f"memory of an attack on {SIZES[-1]:,} images", f"on {IMAGES}", [(peaks[1], peaks[0])], "GB")


def _chosen(tools: Toolbox, count: int) -> Selection:
    """Test images that the victim gets right, again from the beginning where there are too few."""
    test = tools.splits.test
    right = in_batches(tools.victim, test.images, torch.device("cpu")).argmax(dim=1) == test.labels
    some = select(test.labels, right, tools.splits.num_classes, min(count, int(right.sum())), None, "random", 0)
    rows = torch.arange(count) % len(some)
    return Selection(some.index[rows], some.y[rows], some.target[rows])


def _images(tools: Toolbox, chosen: Selection) -> tuple[Tensor, Tensor, Tensor]:
    return unit(tools.splits.test.images[chosen.index]), chosen.y, chosen.target


def _success(tools: Toolbox, chosen: Selection) -> float:
    """The share of successes of a whole attack."""
    plan = tools.settings.attack
    result = _in_parts(tools.attack(), *_images(tools, chosen), plan.batch_size)
    device = torch.device("cpu")
    victim = in_batches(tools.victim, result, device).softmax(dim=1)
    judge = in_batches(tools.judge.probs, result, device)
    verdict = type1_verdict(victim, judge, chosen.y, chosen.target, plan.confidence)
    return verdict.success.double().mean().item()


def _in_parts(attack: LatentAttack, x: Tensor, y: Tensor, target: Tensor, size: int) -> Tensor:
    parts = zip(x.split(size), y.split(size), target.split(size), strict=True)
    return torch.cat([attack(*part).x_adv for part in parts])


def _whole_attack(tools: Toolbox, count: int, share: float | None = None) -> Callable[[], float]:
    """Seconds of an attack as a run makes it, of each image or times `share`."""
    chosen, attack = _chosen(tools, count), tools.attack()

    def work() -> None:
        with TemporaryDirectory() as folder:
            walk_batches(attack, tools.splits.test, chosen, tools.settings.hardware, Path(folder))

    return seconds(work, 1 / count if share is None else share)


def _step(tools: Toolbox, case: str, repeats: int) -> Comparison:
    plan = tools.settings.attack.model_copy(
        update={"steps": STEPS, "frames": 2, "starts": ["mean"], "keep_best": False}
    )
    attack = tools.attack(plan)
    assert isinstance(attack, LatentAttack)  # the settings ask for one
    x, y, target = _images(tools, _chosen(tools, IMAGES))
    z0 = attack.generator.encode(x).mean
    generator, proxies = attack.generator, attack.proxies
    eps = torch.randn(plan.latent_noise.samples, z0.shape[1], generator=torch.Generator().manual_seed(0))
    repeated = target.repeat_interleave(len(eps))

    def bare() -> None:
        z = z0.clone().requires_grad_()
        for step in range(STEPS + 1):  # a walk looks at the code that its last step comes to
            pictures = generator.decoder(z).sigmoid()
            loss = functional.cross_entropy(attack.victim(pictures), y, reduction="sum")
            cloud = (z[:, None] + eps).flatten(0, 1)
            loss = loss + functional.cross_entropy(generator.classifier(cloud), repeated, reduction="sum")
            loss = loss + functional.softplus(-generator.discriminator(z)).sum()
            for proxy in [proxies[step % len(proxies)]] if len(proxies) else []:
                loss = loss + functional.cross_entropy(proxy(pictures), target, reduction="sum")
            torch.autograd.grad(loss, z)

    weights = [weight for network in attack.networks for weight in network.parameters()]
    for weight in weights:
        weight.requires_grad_(False)
    share = 1 / STEPS
    ours = seconds(lambda: attack(x, y, target), share)
    return compare(
        case,
        ours,
        "its bare parts",
        seconds(bare, share),
        max(2, repeats // 5),
        "s",
        1 / 1.1,
        operations(bare) / STEPS,
    )
