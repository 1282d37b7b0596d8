"""The density of real codes: against multivariate normal distributions, and far from the data."""

import pytest
import torch
from random_networks import TARGET, Y, bind, images, make_attack, networks, train_images
from torch import Tensor
from torch.distributions import MultivariateNormal

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.latent_density import JITTER, SHRINKAGE, LatentDensity
from cam_adv.errors import UserError


def codes_and_labels(counts: tuple[int, ...] = (30, 2, 12), size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated codes of three classes, in a random order; the second class has two."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    mixing = torch.randn(len(counts), size, size, generator=generator, dtype=torch.float64)
    means = 4 * torch.randn(len(counts), size, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), size, generator=generator, dtype=torch.float64)
    return means[labels] + torch.einsum("nij,nj->ni", mixing[labels], noise), labels


def draw(*shape: int) -> Tensor:
    """Standard normal values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def distributions(codes: Tensor, labels: Tensor) -> list[MultivariateNormal]:
    """One for each class, with covariance 0.9·own + 0.1·pooled + 1e-4·(mean pooled variance)·identity."""
    members = [codes[labels == label] for label in range(int(labels.max()) + 1)]
    offsets = torch.cat([codes - codes.mean(dim=0) for codes in members])
    pooled = offsets.T @ offsets / (len(offsets) - 1)
    jitter = 1e-4 * pooled.trace() / len(pooled) * torch.eye(len(pooled), dtype=codes.dtype)
    return [MultivariateNormal(own.mean(dim=0), 0.9 * own.T.cov() + 0.1 * pooled + jitter) for own in members]


@pytest.fixture(params=[0, 1, 2])
def data(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    return codes_and_labels(seed=request.param)


def test_excess_is_the_negative_log_density_above_the_median_of_the_class(data: tuple[Tensor, Tensor]) -> None:
    codes, labels = data
    assert (SHRINKAGE, JITTER) == (0.1, 1e-4)
    density, points = LatentDensity(codes, labels), 5 * draw(20, 4)
    for label, distribution in enumerate(distributions(codes, labels)):
        real = -distribution.log_prob(codes[labels == label])
        expected = (-distribution.log_prob(points) - real.median()).clamp(min=0)
        assert torch.allclose(density.excess(points, torch.full((20,), label)), expected, atol=1e-8)
        assert (expected > 0).any()


def test_contains_99_percent_of_the_real_codes_of_each_class() -> None:
    codes, labels = codes_and_labels((300, 200, 2))
    density = LatentDensity(codes, labels)
    # Moved towards the mean by more than rounding: the limit is the energy of one of them, by another formula.
    within = density.contains(torch.lerp(codes, density.means[labels], 1e-9), labels)
    assert [int(within[labels == label].sum()) for label in range(3)] == [297, 198, 2]
    assert not density.contains(100 + codes, labels).any()


def test_excess_of_one_dimension_by_hand() -> None:
    """Class 0 at −1, 0, 1 and class 1 at 8, 12: the variances 1 and 8, and (2 + 8)/4 = 2.5 pooled, make
    0.9 + 0.25 + 0.00025 = 1.15025 and 7.45025; the energies of class 0 are 0 at 0 and the median at ±1."""
    codes, labels = torch.tensor([[-1.0], [0.0], [1.0], [8.0], [12.0]]), torch.tensor([0, 0, 0, 1, 1])
    density = LatentDensity(codes, labels)
    points, classes = torch.tensor([[0.0], [1.0], [-3.0], [10.0], [15.0]]).double(), torch.tensor([0, 0, 0, 1, 1])
    expected = [0, 0, (9 - 1) / (2 * 1.15025), 0, (25 - 4) / (2 * 7.45025)]
    assert density.excess(points, classes).tolist() == pytest.approx(expected, abs=1e-12)


def test_excess_is_zero_for_half_of_the_real_codes_of_every_class(data: tuple[Tensor, Tensor]) -> None:
    codes, labels = data
    excess = LatentDensity(codes, labels).excess(codes, labels)
    assert (excess >= 0).all()
    for label in range(3):
        own = excess[labels == label]
        assert (own <= 1e-9).float().mean() >= 0.5
        assert len(own) == 2 or (own > 1e-9).float().mean() >= 0.4


def test_excess_grows_in_every_direction_far_from_the_data(data: tuple[Tensor, Tensor]) -> None:
    """At least with the square of the distance over twice the largest variance."""
    codes, labels = data
    density = LatentDensity(codes, labels)
    directions = torch.nn.functional.normalize(draw(50, 4), dim=1)
    directions = torch.cat([directions, torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    for label, distribution in enumerate(distributions(codes, labels)):
        chosen = torch.full((len(directions),), label)
        at = torch.stack([density.excess(distribution.mean + r * directions, chosen) for r in (20, 40, 80, 160)])
        largest = torch.linalg.eigvalsh(distribution.covariance_matrix)[-1]
        assert (at.diff(dim=0) > 0).all()
        assert (at[-1] - at[-2] >= (160**2 - 80**2) / (2 * largest) * (1 - 1e-9)).all()


def test_gradient_leads_back_to_the_data(data: tuple[Tensor, Tensor]) -> None:
    codes, labels = data
    density, points = LatentDensity(codes, labels), (30 * draw(40, 4)).requires_grad_()
    chosen = torch.arange(40) % 3
    before = density.excess(points, chosen)
    (gradient,) = torch.autograd.grad(before.sum(), points)
    means = torch.stack([codes[labels == label].mean(dim=0) for label in range(3)])
    assert ((gradient * (points - means[chosen])).sum(dim=1) > 0).all()


def test_excess_does_not_depend_on_units_or_origin_of_the_codes(data: tuple[Tensor, Tensor]) -> None:
    codes, labels = data
    points = 5 * draw(20, 4)
    chosen = torch.arange(20) % 3
    moved = LatentDensity(7 * codes - 3, labels).excess(7 * points - 3, chosen)
    assert torch.allclose(moved, LatentDensity(codes, labels).excess(points, chosen), atol=1e-8)


@pytest.mark.parametrize("spread", [0.0, 1e-9])
def test_collapsed_latent_has_a_density_and_must_stay_where_it_is(spread: float) -> None:
    codes, labels = codes_and_labels()
    codes[:, 2] = 0.5 + spread * codes[:, 2]
    density = LatentDensity(codes, labels)
    excess = density.excess(codes, labels)
    away = density.excess(codes + torch.tensor([0, 0, 1.0, 0]), labels)
    assert excess.isfinite().all()
    assert away.isfinite().all()
    assert (away > 100).all()
    assert (excess < 100).all()


def test_codes_that_are_all_the_same_have_a_density() -> None:
    labels = torch.arange(3).repeat(4)
    density = LatentDensity(torch.full((12, 4), 0.3), labels).float()
    at, away = (density.excess(torch.full((12, 4), value), labels) for value in (0.3, 0.5))
    assert at.abs().max() < 1
    assert away.isfinite().all()
    assert away.min() > 1e6


def test_excess_of_a_code_does_not_depend_on_its_batch_or_on_autocast() -> None:
    codes, labels = codes_and_labels()
    density, points = LatentDensity(codes, labels).float(), draw(9, 4).float()
    whole = density.excess(points, labels[:9])
    parts = torch.cat([density.excess(points[row : row + 1], labels[row : row + 1]) for row in range(9)])
    assert torch.allclose(parts, whole, rtol=1e-6, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(density.excess(points, labels[:9]), whole)


def test_density_of_a_generator_is_that_of_its_codes_of_images() -> None:
    """Also of 8-bit images."""
    generator, real = networks()[1].eval(), train_images()
    codes = generator.encode(real.images).mean.detach()
    points, labels = codes[:8] + 0.1 * draw(8, 5), real.labels[:8]
    expected = LatentDensity(codes, real.labels).excess(points, labels)
    assert torch.allclose(LatentDensity.of(generator, real).excess(points, labels), expected)
    eight_bit = type(real)((255 * real.images).round().byte(), real.labels)
    codes = generator.double().encode(eight_bit.images.double() / 255).mean.detach()
    single = LatentDensity.of(generator.float(), eight_bit).double().excess(points, labels)
    assert torch.allclose(single, LatentDensity(codes, real.labels).excess(points, labels), rtol=0.01, atol=0.1)


def test_samples_have_the_mean_and_covariance_of_their_class(data: tuple[Tensor, Tensor]) -> None:
    """Of 20,000 draws from each, in shuffled order: within five standard deviations of the estimates."""
    codes, labels = data
    chosen = torch.arange(3).repeat(20_000)
    samples = LatentDensity(codes, labels).sample(chosen, torch.Generator().manual_seed(1))
    for label, distribution in enumerate(distributions(codes, labels)):
        own = samples[chosen == label]
        scale = distribution.covariance_matrix.diagonal().sqrt()
        assert ((own.mean(dim=0) - distribution.mean).abs() < 5 * scale / 20_000**0.5).all()
        deviation = (own.T.cov() - distribution.covariance_matrix) / torch.outer(scale, scale)
        assert deviation.abs().max() < 5 * (2 / 20_000) ** 0.5


def test_sample_is_the_mean_plus_the_factor_of_the_covariance_times_normal_draws(data: tuple[Tensor, Tensor]) -> None:
    codes, labels = data
    chosen = torch.tensor([2, 0, 0, 1])
    samples = LatentDensity(codes, labels).sample(chosen, torch.Generator().manual_seed(9))
    eps = torch.randn(4, 4, generator=torch.Generator().manual_seed(9)).double()
    of_class = distributions(codes, labels)
    expected = [of_class[label].mean + of_class[label].scale_tril @ eps[row] for row, label in enumerate(chosen)]
    torch.testing.assert_close(samples, torch.stack(expected))


class TestInTheAttack:
    def test_term_is_the_excess_of_the_perceived_label(self) -> None:
        """y' under Type I, y under Type II."""
        for name, perceived in (("type1", TARGET), ("type2_latent", Y)):
            bound = bind(make_attack(name))
            result = bound(images(), Y, TARGET)
            assert bound.models.generator is not None
            density = LatentDensity.of(bound.models.generator.eval(), train_images())
            for frame in range(4):
                expected = density.excess(result.path[:, frame], perceived)
                assert torch.allclose(result.terms["density"][:, frame], expected, atol=1e-8), (name, frame)

    def test_larger_weight_keeps_codes_nearer_to_the_data(self) -> None:
        def excess(weight: float) -> Tensor:
            weights = {"f2": 1.0, "surrogates": 8.0, "discriminator": 0.0, "norm": 0.0, "density": weight}
            attack = make_attack("type1_latent", weights=weights, keep_best=False, steps=30, learning_rate=0.02)
            bound = bind(attack)
            assert bound.models.generator is not None
            density = LatentDensity.of(bound.models.generator.eval(), train_images())
            return density.excess(bound(images(), Y, TARGET).z, TARGET)

        assert (excess(3.0) < excess(1e-3)).all()

    def test_weight_without_training_images_is_refused(self) -> None:
        victim, generator, surrogates = networks()
        attack = make_attack("type1")
        with pytest.raises(UserError) as refusal:
            BoundAttack(attack, AttackModels(victim, generator, surrogates))
        weight = attack.weights.density
        assert refusal.value.what == (
            f"attack.weights.density={weight} keeps codes near those of training images, but there are none."
        )
        assert refusal.value.remedy == "Give training images, or set attack.weights.density to 0."

    def test_weight_of_zero_needs_no_training_images_and_has_no_term(self) -> None:
        victim, generator, surrogates = networks()
        attack = make_attack(weights={"f2": 1.0, "surrogates": 8.0, "discriminator": 0.1, "norm": 0.0})
        result = BoundAttack(attack, AttackModels(victim, generator, surrogates))(images(), Y, TARGET)
        assert "density" not in result.terms

    def test_density_is_no_part_of_the_saved_weights(self) -> None:
        """The networks and the images determine it."""
        bound = bind(make_attack())
        assert not [name for name in bound.state_dict() if name.startswith("prepared")]
