"""The latent attack of both types: against the published algorithm, its starts, and what it must not depend on."""

import copy
from itertools import chain
from typing import Any

import pytest
import torch
from random_networks import TARGET, Y, bind, images, make_attack, networks, real_images, train_images
from torch import Tensor, nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import Prepared
from cam_adv.attacks.latent.objective import LossWeights
from cam_adv.attacks.result import concatenate
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.surrogates import GeneratorClassifier

NO_AUGMENTATION = {"noise": 0.0, "shift": 0}


class Constant(nn.Module):
    """The same logits for each image: equal ones, or a high one for class 0."""

    def __init__(self, first: float = 0.0) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[self.first, 0, 0, 0]]).to(x).expand(len(x), -1) + 0 * x.sum()


class LinearGenerator(Generator):
    """Codes are the first five pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_size = 5
        self.classifier, self.discriminator = nn.Linear(5, 4), nn.Linear(5, 1)
        self.double()

    def encode(self, x: Tensor) -> Posterior:
        mean = x.flatten(1)[:, :5]
        return Posterior(mean, torch.full_like(mean, 0.1))

    def decode(self, codes: Tensor) -> Tensor:
        return nn.functional.pad(codes, (0, 779)).reshape(-1, 1, 28, 28).sigmoid()


class TestTang2018:
    def test_settings_are_the_published_ones(self) -> None:
        published = make_attack("tang2018", steps=20001)
        assert (published.learning_rate, published.init, published.keep_best) == (5e-3, ["mean"], False)
        weights = published.weights
        assert (weights.f2, weights.surrogates, weights.discriminator, weights.norm) == (1, 0, 0.01, 1e-4)
        assert (weights.density, weights.cam, published.residual.eps) == (0, 0, 0)
        assert (published.latent_noise.samples, published.latent_noise.spread, published.strength) == (1, 0, None)

    def test_five_steps_follow_the_published_formula(self) -> None:
        """On one image, written out here with torch.optim.Adam."""
        victim, generator, _ = networks()
        victim.eval()
        generator.eval()
        x, y, target = images()[:1], torch.tensor([0]), torch.tensor([2])
        z = generator.encode(x).mean.detach().requires_grad_()
        optimizer, k = torch.optim.Adam([z], lr=5e-3), 0.0
        for _ in range(5):
            j1 = nn.functional.cross_entropy(victim(generator.decode(z)), y)
            j2 = nn.functional.cross_entropy(generator.classifier(z), target)
            discriminator = nn.functional.binary_cross_entropy_with_logits(
                generator.discriminator(z), torch.ones(1, 1, dtype=torch.float64)
            )
            optimizer.zero_grad()
            (j2 + 0.01 * discriminator + 1e-4 * z.norm() + k * j1).backward()
            optimizer.step()
            k = min(max(k + 1e-4 * (1e-3 * j1.item() - j2.item() + max(j1.item() - 0.01, 0)), 0), 1e-3)
        result = BoundAttack(make_attack("tang2018", steps=5), AttackModels(victim, generator))(x, y, target)
        assert torch.allclose(result.z, z, atol=1e-10)
        assert torch.allclose(result.x_adv, generator.decode(z), atol=1e-10)
        assert torch.equal(result.x_adv, generator.decode(result.z))

    def test_images_that_it_does_not_use_change_nothing(self) -> None:
        """It prepares nothing, and has no term of the density or the CAM."""
        models = [AttackModels(*networks()), AttackModels(*networks(), real_images(), train_images())]
        without, given = (BoundAttack(make_attack("tang2018", steps=5), one) for one in models)
        first, second = (bound(images(), Y, TARGET) for bound in (without, given))
        assert isinstance(given.prepared, Prepared)
        assert (given.prepared.initializer, given.prepared.density) == (None, None)
        assert first.terms.keys() == {"J1 victim", "J2 f2", "surrogates", "discriminator", "norm", "k"}
        assert first.residual_path is None
        assert first.tensors().keys() == second.tensors().keys()
        assert all(torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items())


@pytest.mark.parametrize(("per_step", "turns"), [(1, [[0, 1, 2], [1], [2], [0], [0, 1, 2]]), (3, [[0, 1, 2]] * 5)])
def test_proxies_are_evaluated_in_turn(
    per_step: int, turns: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at the first and the last step; between them the latest output of each is repeated."""
    attack = make_attack(proxies_per_step=per_step, steps=4, init=["mean"], early_stop_prob=1 - 1e-9, trace_points=5)
    bound = bind(attack)
    bound(images(), Y, TARGET)  # the first call also checks the networks
    calls: list[int] = []
    latest: dict[int, Tensor] = {}

    def record(number: int, logits: Tensor) -> None:
        calls.append(number)
        latest[number] = logits.detach().log_softmax(dim=1)[torch.arange(5), TARGET]

    for number, surrogate in enumerate(bound.models.surrogates):
        surrogate.register_forward_hook(lambda _, __, logits, number=number: record(number, logits))
    classify = GeneratorClassifier.forward

    def recorded_classify(self: GeneratorClassifier, x: Tensor) -> Tensor:
        logits = classify(self, x)
        record(2, logits)
        return logits

    monkeypatch.setattr(GeneratorClassifier, "forward", recorded_classify)
    surrogates: list[Tensor] = []

    def on_step(step: int, active: int) -> None:
        surrogates.append(-torch.stack([latest[number] for number in range(3)]).mean(dim=0))

    result = bound(images(), Y, TARGET, on_step)
    # After the last step the final codes of all samples are evaluated once more.
    assert calls == [*chain(*turns), 0, 1, 2]
    assert torch.allclose(result.terms["surrogates"][:, :4], torch.stack(surrogates, dim=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("type1", {}),
        ("type1", {"residual": {"eps": 0.05, "norm": "linf", "scale": 0.02}}),
        ("type1", {"init": ["real_image", "mean"], "init_candidates": 3}),
        ("type1_latent", {}),
        ("transition", {}),
        ("tang2018", {}),
        ("type2_latent", {}),
    ],
)
def test_result_of_an_image_does_not_depend_on_its_batch(name: str, changes: dict[str, Any]) -> None:
    bound = bind(make_attack(name, **changes))
    whole = bound(images(), Y, TARGET)
    parts = [bound(images()[row : row + 1], Y[[row]], TARGET[[row]]) for row in range(5)]
    for field, value in concatenate(parts, 5).tensors().items():
        assert torch.allclose(whole.tensors()[field], value, atol=1e-9, rtol=1e-9), field


def test_same_seed_gives_same_result_and_another_does_not() -> None:
    first, again, other = (bind(make_attack(), seed=seed)(images(), Y, TARGET) for seed in (0, 0, 1))
    assert torch.equal(first.z, again.z)
    assert not torch.equal(first.z, other.z)


@pytest.mark.parametrize("name", ["type1", "type1_latent"])
def test_result_fields_are_consistent(name: str) -> None:
    bound = bind(make_attack(name, strength=0.5))
    result = bound(images(), Y, TARGET)
    generator = bound.models.generator
    assert generator is not None
    generator.eval()
    assert torch.equal(result.z0, generator.encode(images()).mean)
    delta = torch.zeros(1) if result.residual_path is None else result.residual_path[:, -1]
    assert (result.residual_path is None) == (name == "type1_latent")
    assert torch.allclose(result.x_adv, (generator.decode(result.z) + delta).clamp(0, 1), atol=1e-12)
    assert (result.z - result.z0).norm(dim=1).max() <= 0.5 + 1e-9
    assert torch.equal(result.path[:, -1], result.z)
    j1 = nn.functional.cross_entropy(bound.models.victim.eval()(result.x_adv), Y, reduction="none")
    assert torch.allclose(result.terms["J1 victim"][:, -1], j1, atol=1e-9)


def test_full_trace_records_every_step_of_the_same_attack() -> None:
    bound = bind(make_attack())
    result, traced = bound(images(), Y, TARGET), bound.with_full_trace()(images(), Y, TARGET)
    assert traced.path.shape[1] == 13
    assert torch.equal(traced.z, result.z)
    assert torch.equal(traced.path[:, [0, 4, 8, 12]], result.path)
    assert torch.equal(traced.residual_path[:, [0, 4, 8, 12]], result.residual_path)


def test_attack_leaves_networks_unchanged() -> None:
    """No weight, buffer, gradient, mode or requires_grad of the networks changes."""
    bound = bind(make_attack())
    bound.models.victim.get_parameter("classifier.bias").requires_grad_(False)
    before = copy.deepcopy(bound.state_dict())
    tracked = {name: weight.requires_grad for name, weight in bound.named_parameters()}
    bound(images(), Y, TARGET)
    assert all(torch.equal(value, before[name]) for name, value in bound.state_dict().items())
    assert all(weight.grad is None for weight in bound.parameters())
    assert {name: weight.requires_grad for name, weight in bound.named_parameters()} == tracked
    assert all(part.training for part in bound.models.modules())


def test_attack_works_inside_no_grad() -> None:
    with torch.no_grad():
        result = bind(make_attack())(images(), Y, TARGET)
    assert not torch.equal(result.z, result.z0)


def test_transition_ignores_the_victim() -> None:
    assert bind(make_attack("transition"))(images(), Y, TARGET).terms["k"].abs().max() == 0


def test_generator_classifier_is_one_more_proxy() -> None:
    """Without augmentation its loss is CE(f2(mu(x')), y'); that of equal logits is log 4."""
    victim, generator, _ = networks()
    attack = make_attack(init=["mean"], views=NO_AUGMENTATION)
    proxies = attack._proxies(AttackModels(victim, generator))
    assert [type(proxy) for proxy in proxies] == [GeneratorClassifier]
    result = BoundAttack(attack, AttackModels(victim, generator, [Constant()], None, train_images()))(
        images(), Y, TARGET
    )
    logits = generator.eval().classifier(generator.encode(result.x_adv).mean)
    expected = (nn.functional.cross_entropy(logits, TARGET, reduction="none") + torch.tensor(4.0).log()) / 2
    assert torch.allclose(result.terms["surrogates"][:, -1], expected, atol=1e-9)


def test_second_start_is_tried_and_the_better_result_kept() -> None:
    both = bind(make_attack(init=["mean", "real_image"], keep_best=False))(images(), Y, TARGET)
    single = [
        bind(make_attack(init=[start], keep_best=False))(images(), Y, TARGET) for start in ("mean", "real_image")
    ]
    for row, start in enumerate(both.start.tolist()):
        assert torch.allclose(both.z[row], single[start].z[row], atol=1e-9)
        assert both.steps[row] == 12 * (start + 1)
    assert set(both.start.tolist()) == {0, 1}


def test_class_shift_starts_at_the_mean_moved_by_the_difference_of_class_means() -> None:
    """The codes of the generator are the first five pixels."""
    victim, _, surrogates = networks()
    models = AttackModels(victim, LinearGenerator(), surrogates, None, train_images())
    attack = make_attack("type1_fast", steps=3, weights=make_attack().weights.model_copy(update={"density": 0}))
    result = BoundAttack(attack, models)(images(), Y, TARGET)
    codes, labels = train_images().images.flatten(1)[:, :5], train_images().labels
    means = torch.stack([codes[labels == label].mean(dim=0) for label in range(4)])
    wanted = images().flatten(1)[:, :5] + means[TARGET] - means[Y]
    assert result.z_start is not None
    assert torch.allclose(result.z_start, wanted)
    assert "density" not in result.terms


def test_class_shift_without_training_images_is_refused() -> None:
    victim, generator, surrogates = networks()
    with pytest.raises(UserError, match="starts from mean codes of training images, but there are none"):
        BoundAttack(make_attack(init=["class_shift"]), AttackModels(victim, generator, surrogates))


def test_mixed_precision_returns_full_precision() -> None:
    bound = bind(make_attack(), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = bound(images(torch.float32), Y, TARGET)
    full = bound(images(torch.float32), Y, TARGET)
    assert {value.dtype for value in mixed.tensors().values()} == {torch.float32, torch.int64, torch.bool}
    assert (mixed.x_adv - full.x_adv).abs().mean() < 0.05


@pytest.mark.parametrize(("density", "fall"), [(0.0, 0.1), (0.3, 0.05)])
def test_constant_victim_lets_the_rest_of_the_objective_fall(density: float, fall: float) -> None:
    """The victim predicts y for any image, so the attack lowers the other terms of each sample."""
    _, generator, surrogates = networks()
    weights = LossWeights(f2=1, surrogates=8, discriminator=0.1, norm=0, density=density)
    changes: dict[str, Any] = {"steps": 100, "learning_rate": 0.02, "keep_best": False, "views": NO_AUGMENTATION}
    attack = make_attack(weights=weights, **changes)
    y, target = torch.zeros(5, dtype=torch.long), torch.tensor([1, 2, 3, 1, 2])
    bound = BoundAttack(attack, AttackModels(Constant(20.0), generator, surrogates, None, train_images()))
    result = bound(images(), y, target)
    rest = 8 * result.terms["surrogates"] + result.terms["J2 f2"] + 0.1 * result.terms["discriminator"]
    rest += density * result.terms.get("density", torch.zeros(()))
    assert (rest[:, -1] < rest[:, 0] - fall).all()
    assert result.terms["J1 victim"].max() < 1e-6


def test_type2_is_type1_with_exchanged_labels() -> None:
    victim, generator, surrogates = networks()
    models = AttackModels(victim, generator, surrogates, None, train_images())
    type2 = make_attack("type2_latent", steps=8, trace_points=3, keep_best=False)
    type1 = type2.model_copy(update={"kind": "type1"})
    exchanged = BoundAttack(type1, models)(images(), y=TARGET, target=Y)
    result = BoundAttack(type2, models)(images(), Y, TARGET)
    assert not torch.equal(result.z, result.z0)
    for name in ("z0", "z_start", "z", "x_adv", "path", "steps"):
        assert torch.equal(getattr(result, name), getattr(exchanged, name)), name
    assert all(torch.equal(value, exchanged.terms[name]) for name, value in result.terms.items())
    assert torch.equal(result.y, Y)
    assert torch.equal(result.target, TARGET)


def test_generator_of_another_class_is_attacked_the_same_way() -> None:
    victim, _, surrogates = networks()
    models = AttackModels(victim, LinearGenerator(), surrogates, None, train_images())
    bound = BoundAttack(make_attack("type1_latent"), models)
    result = bound(images(), Y, TARGET)
    assert torch.equal(result.z0, images().flatten(1)[:, :5])
    assert not torch.equal(result.z, result.z0)
    assert torch.allclose(result.x_adv.logit().flatten(1)[:, :5], result.z)
