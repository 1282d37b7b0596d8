"""The latent attack: its loop against an oracle, its rules by hand, and what it must never touch or depend on."""

import copy
import math
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.latent_walk import evenly_spaced, latent_walk, project, score
from cam_adv.attack.multiplier import DualAscent, Published, log_odds_of
from cam_adv.attack.objective import Terms, evaluate, shaken
from cam_adv.attack.result import AttackResult, concatenate, load_tensors, save_tensors
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.networks.svae import SVAE
from cam_adv.networks.victims import GapCNN, LeNet
from cam_adv.settings import LatentAttackSettings, Weights

KEPT = {"y": torch.tensor([0, 1, 2, 3, 0]), "target": torch.tensor([1, 2, 3, 0, 2])}


def settings(attack: str = "type1", **changes: Any) -> LatentAttackSettings:
    with initialize_config_module("cam_adv.conf", version_base="1.3"):
        config = compose("config", overrides=[f"attack={attack}"]).attack
    plain = OmegaConf.to_container(config, resolve=True)
    return LatentAttackSettings.model_validate({**plain, "steps": 12, "frames": 4, **changes})


def networks(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, SVAE, list[nn.Module]]:
    """A victim, a generator and two surrogates with random weights, in training mode on purpose."""
    torch.manual_seed(0)
    victim = GapCNN(1, 4, (4, 4, 8)).to(dtype)
    generator = SVAE(1, 4, (28, 28), latent_size=5, width=4, hidden=16).to(dtype)
    return victim, generator, [LeNet(1, 4, (28, 28)).to(dtype), LeNet(1, 4, (28, 28)).to(dtype)]


def real_images(dtype: torch.dtype = torch.float64) -> LabelledImages:
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    return LabelledImages(images.to(dtype), torch.arange(4).repeat(10))


def pictures(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1)).to(dtype)


def attack(name: str = "type1", **changes: Any) -> LatentAttack:
    victim, generator, surrogates = networks()
    return LatentAttack(victim, generator, settings(name, **changes), surrogates, real_images())


# The walk


def quadratic(centre: Tensor) -> Any:
    """Terms whose total is ½‖z − centre‖² through the norm's place, with a victim that is always content."""

    def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
        zero = codes.sum(dim=1) * 0
        return Terms(
            zero + 9, zero, zero, zero, 0.5 * (codes - centre[rows]).square().sum(dim=1), (zero - 5)[:, None]
        )

    return terms


ONLY_NORM = Weights(f2=0, surrogates=0, discriminator=0, norm=1)
STILL = DualAscent(start=0, rate=0, gain=0, confidence=0.9, surplus=0, cap=0)


def walk(centre: Tensor, start: Tensor, **changes: Any) -> Any:
    options = {"weights": ONLY_NORM, "steps": 40, "learning_rate": 0.1, "keep_best": False, "frames": 5}
    return latent_walk(quadratic(centre), start, start, STILL, settings(**(options | changes)))


def test_the_walk_is_adam() -> None:
    """Against torch.optim.Adam on the same loss."""
    centre = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=0.1)
    path = [z.detach().clone()]
    for _ in range(40):
        optimiser.zero_grad()
        (0.5 * (z - centre).square().sum()).backward()
        optimiser.step()
        path.append(z.detach().clone())
    ours = walk(centre, torch.zeros(3, 2, dtype=torch.float64))
    assert torch.allclose(ours.codes, path[-1], atol=1e-10)
    assert torch.allclose(ours.path, torch.stack([path[step] for step in (0, 10, 20, 30, 40)], dim=1), atol=1e-10)
    assert ours.steps.tolist() == [40, 40, 40]


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_walk_stays_in_its_ball(strength: float) -> None:
    centre = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * 5
    ours = walk(centre, torch.zeros(6, 3), strength=strength)
    assert ours.path.norm(dim=2).max() <= strength + 1e-6
    assert torch.allclose(ours.codes.norm(dim=1), torch.full((6,), strength), atol=1e-5)


def test_projection_by_hand() -> None:
    """(3, 4) is 5 away from 0: radius 1 takes it to (0.6, 0.8), radius 6 leaves it."""
    codes, origin = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    assert project(codes, origin, 1.0).tolist() == [pytest.approx([0.6, 0.8])]
    assert project(codes, origin, 6.0).tolist() == [[3.0, 4.0]]
    assert project(codes, origin, None).tolist() == [[3.0, 4.0]]
    assert project(origin, origin, 0.0).tolist() == [[0.0, 0.0]]


def test_evenly_spaced_hold_both_ends() -> None:
    assert evenly_spaced(500, 6) == [0, 100, 200, 300, 400, 500]
    assert evenly_spaced(3, 25) == [0, 1, 2, 3]


def test_a_kept_code_ranks_above_every_other() -> None:
    """The victim's probabilities are 0.95, 0.91, 0.5, 0.1; what the proxies believe decides only among the kept."""
    log_odds = torch.tensor([0.95, 0.91, 0.5, 0.1]).logit()
    believed = torch.tensor([-3.0, -0.1, 0.0, 0.0])
    zero = torch.zeros(4)
    ranks = score(Terms(log_odds, zero, zero, zero, zero, believed[:, None]), confidence=0.9, margin=0.0).argsort(
        descending=True
    )
    assert ranks.tolist() == [1, 0, 2, 3]


def test_the_best_code_is_kept_and_a_sample_that_is_believed_enough_rests() -> None:
    """Sample 0 is believed from step 3 on, sample 1 is best at step 5, sample 2 never keeps the victim."""
    believed = {0: [-5, -5, -5, -0.01, -0.005, 0, 0, 0], 1: [-5, -4, -3, -2, -2, -1, -3, -3], 2: [0.0] * 8}
    victim = {0: [9.0] * 8, 1: [9.0] * 8, 2: [-3.0, -2, -1, -2, -3, -3, -3, -3]}
    seen: list[list[int]] = []

    def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
        seen.append(rows.tolist())
        pick = lambda table: torch.tensor([table[row][step] for row in rows.tolist()])  # noqa: E731
        zero = codes.sum(dim=1) * 0
        return Terms(zero + pick(victim), zero, zero, zero, codes.sum(dim=1), (zero + pick(believed))[:, None])

    start = torch.zeros(3, 1)
    options = {"weights": ONLY_NORM, "steps": 7, "learning_rate": 0.1, "rest_at": 0.9, "frames": 8}
    ours = latent_walk(terms, start, start, STILL, settings(**options))
    assert ours.steps.tolist() == [3, 5, 2]
    # The ends are looked at once more, and the table's last column is what they then get.
    assert ours.score.tolist() == pytest.approx([0.0, -3.0, -1e4 - 3])
    assert seen[:4] == [[0, 1, 2]] * 4
    assert seen[4:-1] == [[1, 2]] * 4
    assert ours.codes[:, 0].tolist() == pytest.approx([-0.3, -0.5, -0.2], abs=1e-4)


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("where", ["term", "gradient"])
def test_a_walk_that_diverges_goes_back_and_the_others_go_on(keep_best: bool, where: str) -> None:
    """Sample 1 meets NaN at step 3, in a term or in its gradient alone; sample 0 walks as it would have alone."""
    centre = torch.tensor([[1.0], [1.0]])

    def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
        found = quadratic(centre)(codes, rows, step)
        bad = (rows == 1) & (step == 3)
        if where == "term":
            return replace(found, discriminator=found.discriminator.masked_fill(bad, torch.nan))
        if codes.requires_grad:
            codes.register_hook(lambda gradient: gradient.masked_fill(bad[:, None], torch.nan))
        return found

    start = torch.zeros(2, 1)
    options = {"weights": ONLY_NORM, "steps": 6, "learning_rate": 0.1, "rest_at": 0.9, "frames": 7}
    plan = settings(keep_best=keep_best, **options)
    ours = latent_walk(terms, start, start, STILL, plan)
    alone = latent_walk(quadratic(centre), start[:1], start[:1], STILL, plan)
    assert ours.diverged.tolist() == [False, True]
    assert torch.equal(ours.path[:1], alone.path)
    assert ours.codes.isfinite().all()
    assert ours.steps.tolist() == [int(alone.steps), 0 if keep_best else 2]
    assert ours.codes[1].item() == pytest.approx(0 if keep_best else 0.2, abs=0.02)


# The multiplier


def test_published_multiplier_by_hand() -> None:
    """k + 1e-4·(1e-3·J1 − J2 + max(J1 − 0.01, 0)), cut to [0, 1e-3]."""
    rule = Published(start=0, rate=1e-4, balance=1e-3, tolerance=0.01, cap=1e-3)
    k = torch.tensor([0.0, 5e-4, 5e-4, 9.9e-4], dtype=torch.float64)
    j1 = torch.tensor([0.005, 2.0, 0.01, 5.0], dtype=torch.float64)
    j2 = torch.tensor([3.0, 0.5, 1.0, 0.0], dtype=torch.float64)
    expected = [0.0, 5e-4 + 1e-4 * (0.002 - 0.5 + 1.99), 5e-4 + 1e-4 * (1e-5 - 1.0), 1e-3]
    log_odds = -j1.expm1().log()  # the log-odds whose J_1 this is
    assert rule.loss(log_odds).tolist() == pytest.approx(j1.tolist(), abs=1e-12)
    assert rule.update(k, log_odds, j2).tolist() == pytest.approx(expected, abs=1e-15)


def test_dual_ascent_by_hand() -> None:
    """A confidence of one half is log-odds 0; with a surplus of 1 the shortfalls are 1, −3 and 2."""
    rule = DualAscent(start=2, rate=0.1, gain=0.5, confidence=0.5, surplus=1, cap=3)
    log_odds = torch.tensor([0.0, 4.0, -1.0])
    assert rule.loss(log_odds).tolist() == pytest.approx([1, -3, 2])
    k = rule.update(torch.tensor([2.0, 0.1, 2.95]), log_odds, torch.zeros(3))
    assert k.tolist() == pytest.approx([2.1, 0.0, 3.0])
    weight = rule.weight(torch.tensor([2.0, 1.0, 2.95]), log_odds)
    assert weight.tolist() == pytest.approx([2.5, 0.0, 3.0])


def test_log_odds_against_the_softmax() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    label = torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.allclose(
        log_odds_of(logits, label), logits.softmax(dim=1)[torch.arange(6), label].logit(), atol=1e-10
    )


def test_tang2018_is_the_published_attack() -> None:
    published = settings("tang2018", steps=20001)
    assert (published.learning_rate, published.starts, published.keep_best) == (5e-3, ["mean"], False)
    weights = published.weights
    assert (weights.f2, weights.surrogates, weights.discriminator, weights.norm) == (1, 0, 0.01, 1e-4)
    assert (published.latent_noise.samples, published.latent_noise.spread, published.strength) == (1, 0, None)


def test_tang2018_step_by_step_against_its_formula() -> None:
    """Five steps of the published attack on one image, written out here with torch.optim.Adam."""
    victim, generator, _ = (part.eval() if isinstance(part, nn.Module) else part for part in networks())
    x, y, target = pictures()[:1], torch.tensor([0]), torch.tensor([2])
    z = generator.encode(x).mean.detach().requires_grad_()
    optimiser, k = torch.optim.Adam([z], lr=5e-3), 0.0
    for _ in range(5):
        j1 = nn.functional.cross_entropy(victim(generator.generate(z)), y)
        j2 = nn.functional.cross_entropy(generator.classifier(z), target)
        discriminator = nn.functional.binary_cross_entropy_with_logits(
            generator.discriminator(z), torch.ones(1, 1, dtype=torch.float64)
        )
        optimiser.zero_grad()
        (j2 + 0.01 * discriminator + 1e-4 * z.norm() + k * j1).backward()
        optimiser.step()
        k = min(max(k + 1e-4 * (1e-3 * j1.item() - j2.item() + max(j1.item() - 0.01, 0)), 0), 1e-3)
    ours = LatentAttack(victim, generator, settings("tang2018", steps=5))(x, y, target)
    assert torch.allclose(ours.z, z, atol=1e-10)
    assert torch.allclose(ours.x_adv, generator.generate(z), atol=1e-10)


# The objective


def test_total_by_hand() -> None:
    one = torch.ones(2)
    terms = Terms(3 * one, 5 * one, 7 * one, 11 * one, 13 * one, one[:, None])
    weights = Weights(f2=1, surrogates=2, discriminator=0.5, norm=0.1)
    assert terms.total(weights, torch.tensor([0.0, 30.0])).tolist() == pytest.approx([25.8, 55.8])


def test_without_noise_f2_answers_for_the_code_alone() -> None:
    victim, generator, surrogates = networks()
    codes = torch.randn(3, 5, dtype=torch.float64)
    y, target = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])
    terms = evaluate(victim, generator, surrogates, codes, torch.zeros_like(codes), y, target, torch.randn(7, 5))
    rows = torch.arange(3)
    f2 = generator.classifier(codes).log_softmax(dim=1)[rows, target]
    seen = torch.stack([one(generator.generate(codes)).log_softmax(dim=1)[rows, target] for one in surrogates])
    assert torch.allclose(terms.f2, -f2)
    assert torch.allclose(terms.surrogates, -seen.mean(dim=0))
    assert torch.allclose(terms.believed.exp(), seen.exp().mean(dim=0))
    assert torch.allclose(terms.discriminator, -generator.discriminator(codes).sigmoid().log().squeeze(1))


@pytest.mark.parametrize(("per_step", "turns"), [(1, [[0, 1, 2], [1], [2], [0], [0, 1, 2]]), (3, [[0, 1, 2]] * 5)])
def test_proxies_are_asked_in_turn(per_step: int, turns: list[list[int]]) -> None:
    """All at both ends; between them the last answer of each stands for what it thinks."""
    ours = attack(proxies_per_step=per_step, steps=4, starts=["mean"], rest_at=1 - 1e-9, frames=5)
    asked: list[int] = []
    answers: dict[int, Tensor] = {}
    y, target = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])

    def listen(number: int) -> Any:
        def hook(_: nn.Module, __: Any, logits: Tensor) -> None:
            asked.append(number)
            answers[number] = logits.detach().log_softmax(dim=1)[torch.arange(5), target]

        return hook

    surrogates = []

    def on_step(step: int, active: int) -> None:
        surrogates.append(-torch.stack([answers[number] for number in range(3)]).mean(dim=0))

    for number, proxy in enumerate(ours.proxies):
        proxy.register_forward_hook(listen(number))
    result = ours(pictures(), y, target, on_step)
    # The last step is walked by those that have not rested, and then all ends are looked at.
    assert asked == [*chain(*turns), 0, 1, 2]
    assert torch.allclose(result.terms["surrogates"][:, :4], torch.stack(surrogates, dim=1))


def test_latent_noise_is_an_average_over_the_neighbourhood() -> None:
    victim, generator, _ = networks()
    codes, eps = torch.randn(1, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    deviation = torch.full_like(codes, 0.4)
    terms = evaluate(victim, generator, [], codes, deviation, torch.tensor([0]), torch.tensor([1]), eps)
    by_hand = -generator.classifier(codes + 0.4 * eps).log_softmax(dim=1)[:, 1].mean()
    assert terms.f2.item() == pytest.approx(by_hand.item(), abs=1e-12)


def test_shaken_pictures_move_together() -> None:
    same = pictures()[:1].repeat(3, 1, 1, 1)
    seen = shaken(same, 0.1, 2, torch.Generator().manual_seed(0))
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], same[0])
    assert torch.equal(shaken(same, 0.0, 0, torch.Generator()), same)


# The attack


@pytest.mark.parametrize("name", ["type1", "transition", "tang2018"])
def test_a_batch_gives_what_its_images_give_one_by_one(name: str) -> None:
    whole = attack(name)(pictures(), **KEPT)
    parts = [attack(name)(pictures()[row : row + 1], KEPT["y"][[row]], KEPT["target"][[row]]) for row in range(5)]
    for field, value in concatenate(parts).tensors().items():
        assert torch.allclose(whole.tensors()[field], value, atol=1e-9, rtol=1e-9), field


def test_the_same_seed_gives_the_same_result_and_another_does_not() -> None:
    first, again = attack()(pictures(), **KEPT), attack()(pictures(), **KEPT)
    other = attack()
    other.seed = 1
    assert torch.equal(first.z, again.z)
    assert not torch.equal(first.z, other(pictures(), **KEPT).z)


def test_networks_stay_as_they_were() -> None:
    """No weight, buffer, gradient, mode or requires_grad of the caller's networks changes."""
    ours = attack()
    ours.victim.classifier.bias.requires_grad_(False)
    before = copy.deepcopy(ours.state_dict())
    tracked = {name: weight.requires_grad for name, weight in ours.named_parameters()}
    ours(pictures(), **KEPT)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert all(weight.grad is None for weight in ours.parameters())
    assert {name: weight.requires_grad for name, weight in ours.named_parameters()} == tracked
    assert all(part.training for part in ours.modules())


def test_it_attacks_although_gradients_are_off() -> None:
    with torch.no_grad():
        result = attack()(pictures(), **KEPT)
    assert not torch.equal(result.z, result.z0)


def test_the_transition_leaves_the_victim_out() -> None:
    assert attack("transition")(pictures(), **KEPT).terms["k"].abs().max() == 0


def test_the_result_is_consistent() -> None:
    ours = attack(strength=0.5)
    result = ours(pictures(), **KEPT)
    generator = ours.generator.eval()
    assert torch.equal(result.z0, generator.encode(pictures()).mean)
    assert torch.allclose(result.x_adv, generator.generate(result.z), atol=1e-12)
    assert (result.z - result.z0).norm(dim=1).max() <= 0.5 + 1e-9
    assert torch.equal(result.path[:, -1], result.z)
    j1 = nn.functional.cross_entropy(ours.victim.eval()(result.x_adv), KEPT["y"], reduction="none")
    assert torch.allclose(result.terms["J1 victim"][:, -1], j1, atol=1e-9)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1e6])
def test_a_lookalike_is_the_real_picture_of_y2_that_the_victim_takes_most_for_y(
    distance: float,
) -> None:
    """Against a plain search; with a huge weight of the distance it is the nearest, and the third comes third."""
    ours = attack(starts=["lookalike", "mean", "lookalike"], start_distance=distance, retry_below=1e-9)
    victim, generator = ours.victim.eval(), ours.generator.eval()
    z0 = generator.encode(pictures()).mean.detach()
    codes = generator.encode(real_images().images).mean.detach()
    log_odds = victim(generator.generate(codes)).softmax(dim=1).logit().detach()
    for row, (y, target) in enumerate(zip(KEPT["y"].tolist(), KEPT["target"].tolist(), strict=True)):
        worth = {
            number: float(log_odds[number, y] - distance * (codes[number] - z0[row]).norm())
            for number in range(40)
            if number % 4 == target
        }
        ranked = sorted(worth, key=lambda number: -worth[number])
        for start, rank in ((0, 0), (2, 1)):
            found = ours._start(start, z0[row : row + 1], KEPT["y"][row : row + 1], KEPT["target"][row : row + 1])
            assert torch.allclose(found[0], codes[ranked[rank]], atol=1e-12)


def test_a_lookalike_that_the_proxies_do_not_recognise_comes_last() -> None:
    ours = attack()
    assert ours.lookalikes is not None
    z0, y, target = ours.lookalikes.codes[:1] + 1, torch.tensor([0]), torch.tensor([1])
    ours.lookalikes.believed.zero_()
    ours.lookalikes.believed[17] = 1  # a picture of class 1
    assert torch.equal(ours.lookalikes.start(0, z0, y, target, believed=0.9)[0], ours.lookalikes.codes[17])


def test_without_a_picture_of_the_target_class_there_is_no_lookalike() -> None:
    victim, generator, surrogates = networks()
    threes = LabelledImages(real_images().images, torch.full((40,), 3))
    with pytest.raises(UserError, match="no real image of class 1"):
        LatentAttack(victim, generator, settings(), surrogates, threes)(pictures(), **KEPT)


def test_the_generator_reads_its_own_pictures_as_one_more_surrogate() -> None:
    """Without surrogates it is the only one: CE(f2(mu(G(z))), y'), seen without noise."""
    victim, generator, _ = networks()
    calm = settings(starts=["mean"], views={"noise": 0.0, "shift": 0})
    result = LatentAttack(victim, generator, calm)(pictures(), **KEPT)
    read = generator.eval().classifier(generator.encode(result.x_adv).mean)
    expected = nn.functional.cross_entropy(read, KEPT["target"], reduction="none")
    assert torch.allclose(result.terms["surrogates"][:, -1], expected, atol=1e-9)


def test_a_later_start_is_tried_and_the_better_end_kept() -> None:
    both = attack(starts=["mean", "lookalike"], keep_best=False)(pictures(), **KEPT)
    single = [attack(starts=[start], keep_best=False)(pictures(), **KEPT) for start in ("mean", "lookalike")]
    for row, start in enumerate(both.start.tolist()):
        assert torch.allclose(both.z[row], single[start].z[row], atol=1e-9)
        assert both.steps[row] == 12 * (start + 1)
    assert set(both.start.tolist()) == {0, 1}


def test_mixed_precision_leaves_results_in_full_precision() -> None:
    victim, generator, surrogates = networks(torch.float32)
    ours = LatentAttack(victim, generator, settings(), surrogates, real_images(torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ours(pictures(torch.float32), **KEPT)
    full = ours(pictures(torch.float32), **KEPT)
    assert {value.dtype for value in mixed.tensors().values()} == {torch.float32, torch.int64, torch.bool}
    assert (mixed.x_adv - full.x_adv).abs().mean() < 0.05


def test_a_victim_that_is_content_lets_the_picture_change() -> None:
    """A victim that says y whatever it sees: the walk lowers what is left of the objective, sample by sample."""
    _, generator, surrogates = networks()

    class Content(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[20.0, 0, 0, 0]]).to(images).expand(len(images), -1) + 0 * images.sum()

    calm = settings(steps=100, starts=["mean"], keep_best=False, views={"noise": 0.0, "shift": 0})
    y, target = torch.zeros(5, dtype=torch.long), torch.tensor([1, 2, 3, 1, 2])
    result = LatentAttack(Content(), generator, calm, surrogates)(pictures(), y, target)
    left = 2 * result.terms["surrogates"] + result.terms["J2 f2"]
    assert (left[:, -1] < left[:, 0] - 0.1).all()
    assert result.terms["J1 victim"].max() < 1e-6


def test_a_lookalike_needs_real_images() -> None:
    victim, generator, surrogates = networks()
    with pytest.raises(UserError, match="starts has lookalike"):
        LatentAttack(victim, generator, settings(), surrogates)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_pixels_outside_their_range_are_refused(bad: float) -> None:
    x = pictures()
    x[0, 0, 0, 0] = bad
    with pytest.raises(UserError, match="outside"):
        attack()(x, **KEPT)


def test_results_survive_their_file(tmp_path: Any) -> None:
    result = attack()(pictures(), **KEPT)
    save_tensors(result.tensors(), tmp_path / "attack.safetensors")
    again = AttackResult.from_tensors(load_tensors(tmp_path / "attack.safetensors"))
    assert {path.name for path in tmp_path.iterdir()} == {"attack.safetensors"}
    for name, value in result.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name
