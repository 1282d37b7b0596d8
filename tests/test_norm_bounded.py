"""FGSM and PGD: against Foolbox on the same start, against a linear network worked out by hand, and their bounds."""

from itertools import pairwise

import eagerpy
import foolbox
import pytest
import torch
from foolbox.attacks import L2PGD, L2FastGradientAttack, LinfFastGradientAttack, LinfPGD
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attack.norm_bounded import fgsm, into_ball, pgd, random_start
from cam_adv.networks.victims import GapCNN, LeNet
from cam_adv.settings import AttackNorm

BOTH = pytest.mark.parametrize("norm", ["linf", "l2"])
EPSILON = torch.tensor([0.0, 0.1, 0.3, 0.5, 2.0])


def victim(architecture: type[nn.Module] = GapCNN) -> nn.Module:
    torch.manual_seed(0)
    network = GapCNN(1, 4, (4, 8, 8)) if architecture is GapCNN else LeNet(1, 4, (28, 28))
    return network.eval()


def pictures() -> Tensor:
    """Grey noise with black and white regions: bounds that bind from the first step."""
    noise = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    return (2 * noise - 0.5).clamp(0, 1)


LABELS = torch.tensor([0, 1, 2, 3, 0])


def begun(norm: AttackNorm, epsilon: Tensor | float) -> Tensor:
    return random_start(pictures(), epsilon, norm, torch.Generator().manual_seed(5))


# Against Foolbox


def foolbox_on(network: nn.Module, attack: foolbox.Attack, epsilon: float, start: Tensor | None = None) -> Tensor:
    """What Foolbox's attack makes of the pictures, begun at `start` where one is given."""
    if start is not None:
        attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(start)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    return attack.run(model, pictures(), foolbox.Misclassification(LABELS), epsilon=epsilon)


@pytest.mark.parametrize("architecture", [GapCNN, LeNet])
@pytest.mark.parametrize("epsilon", [0.0, 0.03, 0.3, 1.5])
@pytest.mark.parametrize(("norm", "oracle"), [("linf", LinfFastGradientAttack), ("l2", L2FastGradientAttack)])
def test_fgsm_is_foolbox_s(architecture: type[nn.Module], epsilon: float, norm: AttackNorm, oracle: type) -> None:
    network = victim(architecture)
    theirs = foolbox_on(network, oracle(random_start=False), epsilon)
    torch.testing.assert_close(fgsm(network, pictures(), LABELS, epsilon, norm), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", [GapCNN, LeNet])
@pytest.mark.parametrize("begin", ["x", "random"])
@pytest.mark.parametrize(("norm", "oracle"), [("linf", LinfPGD), ("l2", L2PGD)])
@pytest.mark.parametrize("epsilon", [0.03, 0.3, 1.5])
def test_pgd_is_foolbox_s(
    architecture: type[nn.Module], begin: str, norm: AttackNorm, oracle: type, epsilon: float
) -> None:
    network, size = victim(architecture), epsilon / 8
    start = pictures() if begin == "x" else begun(norm, epsilon)
    attack = oracle(abs_stepsize=size, steps=20, random_start=begin == "random")
    theirs = foolbox_on(network, attack, epsilon, start)
    ours = pgd(network, pictures(), LABELS, epsilon, norm, 20, size, start)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


# By hand


class Linear(nn.Module):
    """Two logits of four pixels, whose margin has the weights 1, −2, 0 and 2: length 3."""

    def forward(self, images: Tensor) -> Tensor:
        margin = images.flatten(1) @ torch.tensor([1.0, -2.0, 0.0, 2.0])
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


HALF = torch.full((1, 1, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("norm", "epsilon", "expected"),
    [
        ("linf", 0.2, [0.3, 0.7, 0.5, 0.3]),  # every pixel with a weight, by its sign
        ("l2", 0.3, [0.4, 0.7, 0.5, 0.3]),  # 0.3·(−1, 2, 0, −2)/3
        ("linf", 0.7, [0.0, 1.0, 0.5, 0.0]),  # what pixels allow
        ("l2", 0.9, [0.2, 1.0, 0.5, 0.0]),  # 0.5 − 0.3, and what pixels allow
    ],
)
def test_one_step_by_hand(norm: AttackNorm, epsilon: float, expected: list[float]) -> None:
    """The label is 0, so the margin is to fall."""
    x_adv = fgsm(Linear(), HALF, torch.tensor([0]), epsilon, norm)
    torch.testing.assert_close(x_adv.flatten(), torch.tensor(expected))
    upward = fgsm(Linear(), HALF, torch.tensor([1]), epsilon, norm)
    torch.testing.assert_close(upward.flatten(), 1 - torch.tensor(expected))


def test_two_steps_by_hand() -> None:
    """From a corner of the ball: 0.7 + 0.1 leaves it again, and each step moves 0.1 against the weight's sign."""
    start = torch.tensor([0.7, 0.5, 0.7, 0.4]).reshape(1, 1, 2, 2)
    x_adv = pgd(Linear(), HALF, torch.tensor([0]), 0.2, "linf", 2, 0.1, start)
    torch.testing.assert_close(x_adv.flatten(), torch.tensor([0.5, 0.7, 0.7, 0.3]))


@BOTH
def test_the_loss_of_a_linear_network_never_falls(norm: AttackNorm) -> None:
    x, y = pictures().flatten(1)[:, :4].reshape(5, 1, 2, 2), torch.tensor([0, 1, 0, 1, 1])
    way = [x]
    pgd(Linear(), x, y, 0.4, norm, 6, 0.1, x, lambda step, images: way.append(images))
    losses = [functional.cross_entropy(Linear()(images), y, reduction="none") for images in way]
    assert len(losses) == 7
    for before, after in pairwise(losses):
        assert (after >= before - 1e-6).all()
    assert (losses[-1] > losses[0] + 0.1).all()


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("linf", [0.7, 0.4, 1.0, 0.3]), ("l2", [0.5 + 0.12, 0.5, 1.0 - 0.16, 0.5])],
)
def test_into_the_ball_by_hand(norm: AttackNorm, expected: list[float]) -> None:
    if norm == "linf":
        images = torch.tensor([0.9, 0.4, 1.3, -0.2])
        x = torch.tensor([0.5, 0.5, 0.9, 0.5])
    else:  # an offset of (0.3, 0, −0.4, 0), length 0.5, brought to 0.2
        images = torch.tensor([0.8, 0.5, 0.6, 0.5])
        x = torch.tensor([0.5, 0.5, 1.0, 0.5])
    inside = into_ball(images.reshape(1, 1, 2, 2), x.reshape(1, 1, 2, 2), 0.2, norm)
    torch.testing.assert_close(inside.flatten(), torch.tensor(expected))


# What holds of any network


def lengths(offset: Tensor, norm: AttackNorm) -> Tensor:
    return offset.flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)


@BOTH
def test_ball_and_range_hold_for_each_epsilon(norm: AttackNorm) -> None:
    """One epsilon for each image; that of 0 leaves its image as it is, the others are used to the border."""
    x = pictures()
    x_adv = pgd(victim(), x, LABELS, EPSILON, norm, 10, EPSILON / 4, begun(norm, EPSILON))
    assert (x_adv.min().item(), x_adv.max().item()) == (0, 1)
    reached = lengths(x_adv - x, norm)
    assert (reached <= EPSILON + 1e-6).all()
    assert torch.equal(x_adv[0], x[0])
    torch.testing.assert_close(reached[1:4], EPSILON[1:4], rtol=0, atol=0.03)


@BOTH
def test_a_row_depends_on_itself_alone(norm: AttackNorm) -> None:
    network, x = victim(), pictures()
    together = pgd(network, x, LABELS, EPSILON, norm, 10, EPSILON / 4, begun(norm, EPSILON))
    for row in range(len(x)):
        one = slice(row, row + 1)
        start = random_start(x[one], EPSILON[one], norm, torch.Generator().manual_seed(5))
        alone = pgd(network, x[one], LABELS[one], EPSILON[one], norm, 10, EPSILON[one] / 4, start)
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-5)


@BOTH
def test_networks_get_no_gradient_and_modes_of_grad_do_not_matter(norm: AttackNorm) -> None:
    network, x = victim(), pictures()
    expected = pgd(network, x, LABELS, 0.3, norm, 3, 0.1, x)
    with torch.no_grad():
        silent = pgd(network, x, LABELS, 0.3, norm, 3, 0.1, x)
    assert torch.equal(silent, expected)
    assert not expected.requires_grad
    assert all(weight.grad is None for weight in network.parameters())


@BOTH
def test_random_starts_fill_the_ball(norm: AttackNorm) -> None:
    """Mean length over many draws: of one pixel's |u|, a half; of the radius in d dimensions, d/(d + 1)."""
    x, generator = torch.full((1, 1, 2, 2), 0.5), torch.Generator().manual_seed(0)
    draws = torch.cat([random_start(x, 0.4, norm, generator) for _ in range(4000)]) - x
    if norm == "linf":
        assert draws.abs().mean().item() == pytest.approx(0.2, abs=0.004)
        assert draws.abs().max().item() == pytest.approx(0.4, abs=0.001)
    else:
        assert lengths(draws, norm).mean().item() == pytest.approx(0.4 * 4 / 5, abs=0.004)
        assert lengths(draws, norm).max().item() <= 0.4 + 1e-6
    assert draws.mean(dim=0).abs().max().item() < 0.012


def test_another_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="linf, l2"):
        pgd(Linear(), HALF, torch.tensor([0]), 0.1, "l1", 1, 0.1, HALF)  # type: ignore[arg-type]
