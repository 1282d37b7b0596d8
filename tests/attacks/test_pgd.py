"""PGD and FGSM: against Foolbox from the same start, against networks worked out by hand, and what holds for any."""

from itertools import pairwise
from typing import Any, get_args

import eagerpy
import foolbox
import numpy as np
import pytest
import torch
from conftest import compose
from foolbox.attacks import L2PGD, L2FastGradientAttack, LinfFastGradientAttack, LinfPGD
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.pgd import PGD, pgd, random_start
from cam_adv.config.compose import settings_from
from cam_adv.models.lp_balls import Norm, into_ball, lp_norm
from cam_adv.models.victims import GapCNN, LeNet

NORMS = get_args(Norm)
EVERY_NORM = pytest.mark.parametrize("norm", NORMS)
EPSILON = torch.tensor([0.0, 0.1, 0.3, 0.5, 2.0])
LABELS = torch.tensor([0, 1, 2, 3, 0])


def victim(architecture: type[nn.Module] = GapCNN) -> nn.Module:
    torch.manual_seed(0)
    network = GapCNN(1, 4, (4, 8, 8)) if architecture is GapCNN else LeNet(1, 4, (28, 28))
    return network.eval()


def images() -> Tensor:
    """Gray noise with black and white regions, where the limits of [0, 1] bind from the first step."""
    noise = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    return (2 * noise - 0.5).clamp(0, 1)


def seeded_start(norm: Norm, epsilon: Tensor | float, rows: slice = slice(None)) -> Tensor:
    epsilon = epsilon[rows] if isinstance(epsilon, Tensor) else epsilon
    return random_start(images()[rows], epsilon, norm, torch.Generator().manual_seed(5))


def fgsm(network: nn.Module, x: Tensor, y: Tensor, epsilon: Tensor | float, norm: Norm) -> Tensor:
    return pgd(network, x, y, epsilon, norm, steps=1, step_size=epsilon, start=x)


def make_pgd(**changes: Any) -> PGD:
    """The shipped PGD with these changes."""
    attack = settings_from(compose(["attack=pgd"])).attack
    assert isinstance(attack, PGD)
    return PGD(**{**attack.model_dump(), **changes})


class Linear(nn.Module):
    """Two logits of four pixels; the margin between them has the weights 1, −2, 0 and 2, whose L2 norm is 3."""

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1) @ torch.tensor([1.0, -2.0, 0.0, 2.0])
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


HALF = torch.full((1, 1, 2, 2), 0.5)


class TestAgainstFoolbox:
    @staticmethod
    def foolbox_images(network: nn.Module, attack: Any, epsilon: float, start: Tensor | None = None) -> Tensor:
        """The adversarial images of Foolbox's attack, started at `start` where one is given."""
        if start is not None:
            attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(start)
        model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
        return attack.run(model, images(), foolbox.Misclassification(LABELS), epsilon=epsilon)

    @pytest.mark.parametrize("architecture", [GapCNN, LeNet])
    @pytest.mark.parametrize("epsilon", [0.0, 0.03, 0.3, 1.5])
    @pytest.mark.parametrize(("norm", "oracle"), [("linf", LinfFastGradientAttack), ("l2", L2FastGradientAttack)])
    def test_one_full_step_is_foolbox_fgsm(
        self, architecture: type[nn.Module], epsilon: float, norm: Norm, oracle: type
    ) -> None:
        network = victim(architecture)
        theirs = self.foolbox_images(network, oracle(random_start=False), epsilon)
        torch.testing.assert_close(fgsm(network, images(), LABELS, epsilon, norm), theirs, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("architecture", [GapCNN, LeNet])
    @pytest.mark.parametrize("begin", ["x", "random"])
    @pytest.mark.parametrize(("norm", "oracle"), [("linf", LinfPGD), ("l2", L2PGD)])
    @pytest.mark.parametrize("epsilon", [0.03, 0.3, 1.5])
    def test_pgd_is_foolbox_pgd(
        self, architecture: type[nn.Module], begin: str, norm: Norm, oracle: type, epsilon: float
    ) -> None:
        network, size = victim(architecture), epsilon / 8
        start = images() if begin == "x" else seeded_start(norm, epsilon)
        attack = oracle(abs_stepsize=size, steps=20, random_start=begin == "random")
        theirs = self.foolbox_images(network, attack, epsilon, start)
        ours = pgd(network, images(), LABELS, epsilon, norm, 20, size, start)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


class TestByHand:
    @pytest.mark.parametrize(
        ("norm", "epsilon", "expected"),
        [
            ("linf", 0.2, [0.3, 0.7, 0.5, 0.3]),  # every pixel with a weight, by its sign
            ("l2", 0.3, [0.4, 0.7, 0.5, 0.3]),  # 0.3·(−1, 2, 0, −2)/3
            ("linf", 0.7, [0.0, 1.0, 0.5, 0.0]),  # clipped to [0, 1]
            ("l2", 0.9, [0.2, 1.0, 0.5, 0.0]),  # 0.5 − 0.3, and clipped
        ],
    )
    def test_one_step_of_a_linear_network(self, norm: Norm, epsilon: float, expected: list[float]) -> None:
        """The label is 0, so the margin must fall."""
        x_adv = fgsm(Linear(), HALF, torch.tensor([0]), epsilon, norm)
        torch.testing.assert_close(x_adv.flatten(), torch.tensor(expected))
        upward = fgsm(Linear(), HALF, torch.tensor([1]), epsilon, norm)
        torch.testing.assert_close(upward.flatten(), 1 - torch.tensor(expected))

    @pytest.mark.parametrize(
        ("epsilon", "expected"),
        [
            (0.3, [0.5, 0.5, 0.5, 0.2]),  # of the two steepest pixels the step takes one
            (0.7, [0.5, 0.5, 0.5, 0.0]),  # clipped
        ],
    )
    def test_one_l1_step_of_a_linear_network(self, epsilon: float, expected: list[float]) -> None:
        """Pixel 1 is white already, so that of the two steepest pixels only the last can change."""
        x = torch.tensor([0.5, 1.0, 0.5, 0.5]).reshape(1, 1, 2, 2)
        x_adv = pgd(Linear(), x, torch.tensor([0]), epsilon, "l1", 1, epsilon, x, sparsity=0.25)
        expected[1] = 1.0
        torch.testing.assert_close(x_adv.flatten(), torch.tensor(expected))

    def test_two_linf_steps_of_a_linear_network(self) -> None:
        """From a corner of the ball: 0.7 + 0.1 leaves it again, and each step moves 0.1 against the weight's sign."""
        start = torch.tensor([0.7, 0.5, 0.7, 0.4]).reshape(1, 1, 2, 2)
        x_adv = pgd(Linear(), HALF, torch.tensor([0]), 0.2, "linf", 2, 0.1, start)
        torch.testing.assert_close(x_adv.flatten(), torch.tensor([0.5, 0.7, 0.7, 0.3]))

    @pytest.mark.parametrize(
        ("norm", "images", "x", "expected"),
        [
            ("linf", [0.9, 0.4, 1.3, -0.2], [0.5, 0.5, 0.9, 0.5], [0.7, 0.4, 1.0, 0.3]),
            # an offset of (0.3, 0, −0.4, 0), of norm 0.5, is scaled to 0.2
            ("l2", [0.8, 0.5, 0.6, 0.5], [0.5, 0.5, 1.0, 0.5], [0.5 + 0.12, 0.5, 1.0 - 0.16, 0.5]),
            # an offset of (0.3, 0, −0.3, 0) once clipped, of norm 0.6, loses 0.2 in each of two pixels
            ("l1", [0.8, 0.5, -0.4, 0.5], [0.5, 0.5, 0.3, 0.5], [0.6, 0.5, 0.2, 0.5]),
        ],
    )
    def test_into_ball(self, norm: Norm, images: list[float], x: list[float], expected: list[float]) -> None:
        inside = into_ball(torch.tensor(images).reshape(1, 1, 2, 2), torch.tensor(x).reshape(1, 1, 2, 2), 0.2, norm)
        torch.testing.assert_close(inside.flatten(), torch.tensor(expected))


class TestL1:
    @staticmethod
    def reference(
        network: nn.Module, x: Tensor, y: int, epsilon: float, steps: int, size: float, share: float
    ) -> Any:
        """PGD under L1 on one image, pixel by pixel, in double precision."""
        centre = x.flatten().numpy().astype(np.float64)
        current = centre.copy()
        for _ in range(steps):
            leaf = torch.tensor(current, dtype=torch.float32).reshape(x.shape).requires_grad_()
            loss = functional.cross_entropy(network(leaf), torch.tensor([y]))
            gradient = torch.autograd.grad(loss, leaf)[0].flatten().numpy()
            can_change = [
                pixel < 1 if slope > 0 else pixel > 0 for pixel, slope in zip(current, gradient, strict=True)
            ]
            order = sorted(np.flatnonzero(can_change), key=lambda pixel: -abs(gradient[pixel]))
            chosen = order[: max(1, round(share * len(centre)))]
            for pixel in chosen:
                current[pixel] += size / len(chosen) * np.sign(gradient[pixel])
            offset = np.clip(current, 0, 1) - centre
            if np.abs(offset).sum() > epsilon:
                low, high = 0.0, np.abs(offset).max()
                for _ in range(100):  # the amount that all absolute values lose, by bisection
                    middle = (low + high) / 2
                    too_long = np.clip(np.abs(offset) - middle, 0, None).sum() > epsilon
                    low, high = (middle, high) if too_long else (low, middle)
                offset = np.sign(offset) * np.clip(np.abs(offset) - high, 0, None)
            current = np.clip(centre + offset, 0, 1)
        return torch.tensor(current, dtype=torch.float32).reshape(x.shape)

    @pytest.mark.parametrize("share", [0.01, 0.2])
    def test_pgd_is_the_reference_pixel_by_pixel(self, share: float) -> None:
        network, x, epsilon = victim(), images()[:, :, :12, :12], torch.tensor([0.5, 2.0, 5.0, 5.0, 9.0])
        x_adv = pgd(network, x, LABELS, epsilon, "l1", 6, epsilon / 4, x, sparsity=share)
        for row in range(len(x)):
            radius = float(epsilon[row])
            expected = self.reference(network, x[row : row + 1], int(LABELS[row]), radius, 6, radius / 4, share)
            torch.testing.assert_close(x_adv[row : row + 1], expected, rtol=0, atol=1e-4)

    def test_perturbation_is_sparse(self) -> None:
        """Three steps of 1% of 784 pixels change at most 24."""
        x = images()
        x_adv = pgd(victim(), x, LABELS, 2.0, "l1", 3, 1.0, x)
        changed = (x_adv != x).flatten(1).sum(dim=1)
        assert (changed > 0).all()
        assert (changed <= 24).all()


class TestAnyNetwork:
    @EVERY_NORM
    def test_result_stays_in_ball_and_range_for_each_epsilon(self, norm: Norm) -> None:
        """Each image has an epsilon of its own; that of 0 leaves its image as it is, the others are used up."""
        epsilon = EPSILON * (10 if norm == "l1" else 1)
        x = images()
        x_adv = pgd(victim(), x, LABELS, epsilon, norm, 10, epsilon / 4, seeded_start(norm, epsilon))
        assert (x_adv.min().item(), x_adv.max().item()) == (0, 1)
        distance = lp_norm(x_adv - x, norm)
        assert (distance <= epsilon * (1 + 1e-5) + 1e-6).all()
        assert torch.equal(x_adv[0], x[0])
        torch.testing.assert_close(distance[1:4], epsilon[1:4], rtol=0, atol=0.03)

    @EVERY_NORM
    def test_result_of_an_image_does_not_depend_on_its_batch(self, norm: Norm) -> None:
        network, x = victim(), images()
        pooled = pgd(network, x, LABELS, EPSILON, norm, 10, EPSILON / 4, seeded_start(norm, EPSILON))
        for row in range(len(x)):
            one = slice(row, row + 1)
            start = seeded_start(norm, EPSILON, one)
            alone = pgd(network, x[one], LABELS[one], EPSILON[one], norm, 10, EPSILON[one] / 4, start)
            torch.testing.assert_close(alone, pooled[one], rtol=0, atol=1e-5)

    @EVERY_NORM
    def test_weights_get_no_gradient_and_no_grad_does_not_matter(self, norm: Norm) -> None:
        network, x = victim(), images()
        expected = pgd(network, x, LABELS, 0.3, norm, 3, 0.1, x)
        with torch.no_grad():
            inside_no_grad = pgd(network, x, LABELS, 0.3, norm, 3, 0.1, x)
        assert torch.equal(inside_no_grad, expected)
        assert not expected.requires_grad
        assert all(weight.grad is None for weight in network.parameters())

    @pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.4), ("l2", 0.4), ("l1", 4.0)])
    def test_loss_of_a_linear_network_never_falls(self, norm: Norm, epsilon: float) -> None:
        """Under L1 in a ball that no step leaves: the projection may take more than a sparse step gains."""
        x, y = images().flatten(1)[:, :4].reshape(5, 1, 2, 2), torch.tensor([0, 1, 0, 1, 1])
        path = [x]
        pgd(Linear(), x, y, epsilon, norm, 6, 0.1, x, lambda step, images: path.append(images))
        losses = [functional.cross_entropy(Linear()(images), y, reduction="none") for images in path]
        assert len(losses) == 7
        for before, after in pairwise(losses):
            assert (after >= before - 1e-6).all()
        assert (losses[-1] > losses[0] + 0.1).all()

    @EVERY_NORM
    def test_gradient_that_is_nan_changes_nothing(self, norm: Norm) -> None:
        class NotANumber(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.nan * x.flatten(1)[:, :4]

        x = images()
        assert torch.equal(pgd(NotANumber(), x, LABELS, 0.3, norm, 3, 0.1, x), x)

    def test_unknown_norm_raises(self) -> None:
        for norm in ("l3", "l0"):
            with pytest.raises(ValueError, match="l1, l2, linf"):
                pgd(Linear(), HALF, torch.tensor([0]), 0.1, norm, 1, 0.1, HALF)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="l1, l2, linf"):
                random_start(HALF, 0.1, norm, torch.Generator())  # type: ignore[arg-type]


class TestRandomStart:
    @EVERY_NORM
    def test_draws_are_uniform_in_the_ball(self, norm: Norm) -> None:
        """The mean norm of many draws: under L∞ half the radius for one pixel; in d dimensions d/(d + 1) of it."""
        x, generator = torch.full((1, 1, 2, 2), 0.5), torch.Generator().manual_seed(0)
        draws = torch.cat([random_start(x, 0.4, norm, generator) for _ in range(4000)]) - x
        if norm == "linf":
            assert draws.abs().mean().item() == pytest.approx(0.2, abs=0.004)
            assert draws.abs().max().item() == pytest.approx(0.4, abs=0.001)
        else:
            assert lp_norm(draws, norm).mean().item() == pytest.approx(0.4 * 4 / 5, abs=0.004)
            assert lp_norm(draws, norm).max().item() <= 0.4 + 1e-6
        assert draws.mean(dim=0).abs().max().item() < 0.012

    @EVERY_NORM
    def test_draws_stay_in_range(self, norm: Norm) -> None:
        start = seeded_start(norm, 50.0)
        assert start.min() >= 0
        assert start.max() <= 1


class TestPGDAttack:
    @EVERY_NORM
    def test_result_is_that_of_the_function(self, norm: Norm) -> None:
        network, strength = victim(), 0.5
        attack = make_pgd(norm=norm, steps=9, trace_points=4, strength=strength)
        result = BoundAttack(attack, AttackModels(network), seed=3)(images(), LABELS, LABELS)
        start = random_start(images(), strength, norm, torch.Generator().manual_seed(3))
        path = [start]
        size = attack.step_size * strength
        expected = pgd(network, images(), LABELS, strength, norm, 9, size, start, lambda _, x: path.append(x))
        assert torch.equal(result.x_adv, expected)
        assert result.steps.tolist() == [9] * 5
        recorded = [path[step] for step in (0, 3, 6, 9)]
        losses = [functional.cross_entropy(network(x), LABELS, reduction="none") for x in recorded]
        assert torch.allclose(result.terms["J1 victim"], torch.stack(losses, dim=1), atol=1e-5)
        assert (result.z0, result.z, result.path) == (None, None, None)
        assert attack.start_names == ["random"]

    @EVERY_NORM
    def test_result_stays_in_ball_and_range_and_raises_the_loss(self, norm: Norm) -> None:
        strength = {"l1": 60.0, "l2": 2.0, "linf": 0.1}[norm]
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
        y = network(images()).argmax(dim=1)
        bound = BoundAttack(make_pgd(norm=norm, strength=strength), AttackModels(network))
        result = bound(images(), y, y)
        assert result.x_adv.min() >= 0
        assert result.x_adv.max() <= 1
        assert (lp_norm(result.x_adv - images(), norm) <= strength * (1 + 1e-5)).all()
        loss = functional.cross_entropy(network(result.x_adv), y, reduction="none")
        assert (loss > functional.cross_entropy(network(images()), y, reduction="none") + 0.1).all()
        assert (network(result.x_adv).argmax(dim=1) != y).all()
        assert torch.equal(result.target, network(result.x_adv).argmax(dim=1))

    @EVERY_NORM
    def test_zero_strength_returns_input(self, norm: Norm) -> None:
        bound = BoundAttack(make_pgd(norm=norm, strength=0), AttackModels(victim()))
        assert torch.equal(bound(images(), LABELS, LABELS).x_adv, images())

    @EVERY_NORM
    def test_without_random_start_begins_at_x(self, norm: Norm) -> None:
        network = victim()
        attack = make_pgd(norm=norm, random_start=False, steps=3)
        result = BoundAttack(attack, AttackModels(network))(images(), LABELS, LABELS)
        at_x = functional.cross_entropy(network(images()), LABELS, reduction="none")
        assert torch.allclose(result.terms["J1 victim"][:, 0], at_x, atol=1e-6)
        assert attack.start_names == ["x"]

    def test_shipped_fgsm_is_one_full_step_from_x(self) -> None:
        network, attack = victim(), settings_from(compose(["attack=fgsm", "attack.strength=0.2"])).attack
        result = BoundAttack(attack, AttackModels(network))(images(), LABELS, LABELS)
        assert torch.equal(result.x_adv, fgsm(network, images(), LABELS, 0.2, "linf"))
        assert result.trace_points == 2
        losses = [functional.cross_entropy(network(x), LABELS, reduction="none") for x in (images(), result.x_adv)]
        assert torch.allclose(result.terms["J1 victim"], torch.stack(losses, dim=1), atol=1e-6)
        assert result.steps.tolist() == [1] * 5

    def test_on_step_gets_each_step_and_the_number_of_images(self) -> None:
        calls: list[tuple[int, int]] = []
        bound = BoundAttack(make_pgd(steps=3), AttackModels(victim()))
        bound(images(), LABELS, LABELS, lambda step, active: calls.append((step, active)))
        assert calls == [(1, 5), (2, 5), (3, 5)]

    def test_sparsity_is_the_share_of_changed_pixels_under_l1(self) -> None:
        changed = []
        for sparsity in (0.01, 0.1):
            attack = make_pgd(norm="l1", strength=3, steps=1, step_size=1, random_start=False, sparsity=sparsity)
            result = BoundAttack(attack, AttackModels(victim()))(images(), LABELS, LABELS)
            changed.append((result.x_adv != images()).flatten(1).sum(dim=1).tolist())
        assert changed == [[8] * 5, [78] * 5]
