"""`attack=type1_robust`: the constraint on the robust interpretation, by hand and in an attack."""

import math

import pytest
import torch
from random_networks import TARGET, Y, images, make_attack, networks, train_images
from torch import Tensor, nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.interpretation_constraint import InterpretationConstraint
from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.victims import GapCNN

CONFIDENCE = 0.9


class LinearGenerator(Generator):
    """Images that depend strongly on their codes, and codes on their images, unlike those of random deep networks."""

    latent_size = 5

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(784, 5).double()).Q)
        self.classifier, self.discriminator = nn.Linear(5, 4).double(), nn.Linear(5, 1).double()

    def encode(self, images: Tensor) -> Posterior:
        mean = (images.flatten(1) - 0.5) @ self.basis
        return Posterior(mean, torch.full_like(mean, 0.1))

    def decode(self, codes: Tensor) -> Tensor:
        return (4 * codes @ self.basis.T).sigmoid().unflatten(1, (1, 28, 28))


def make_interpretation(threshold: float) -> RobustInterpretation:
    """Of two random victims with large logits."""
    generator = LinearGenerator()
    torch.manual_seed(7)
    victims: list[nn.Module] = [GapCNN(1, 4, (4, 4, 8)).double().eval() for _ in range(2)]
    for one in victims:
        one.get_parameter("classifier.weight").data *= 300
    interpretation = RobustInterpretation(
        victims, generator, images(), samples=2, spread=1.0, level=0.05, seed=0
    ).requires_grad_(False)
    interpretation.threshold.fill_(threshold)
    return interpretation


def answers(interpretation: RobustInterpretation, pictures: Tensor) -> Tensor:
    return interpretation.log_probs_and_maps(pictures, Y, TARGET)[0].exp().mean(dim=0)


def victim() -> nn.Module:
    return networks()[0].eval().requires_grad_(False)


def test_log_odds_are_the_smaller_ones_of_victim_and_answer() -> None:
    network, pictures = victim(), images()
    plain = log_odds_of(network(pictures), Y)
    for threshold in (0.001, 0.9):
        interpretation = make_interpretation(threshold)
        constraint = InterpretationConstraint.of(interpretation, CONFIDENCE, pictures, Y, TARGET)
        logits, change = constraint.logits_and_change(network, pictures, Y)
        answer = interpretation.log_probs_and_maps(pictures, Y, TARGET)[0].mean(dim=0).exp()
        shifted = [math.log(p / (1 - p)) - math.log(threshold / (1 - threshold)) + math.log(9) for p in answer]
        expected = torch.minimum(plain, torch.tensor(shifted, dtype=torch.float64))
        torch.testing.assert_close(log_odds_of(logits, Y), expected)
        torch.testing.assert_close(change, torch.zeros(5, dtype=torch.float64), atol=1e-9, rtol=0)
        others = logits.scatter(1, Y[:, None], 0.0)
        torch.testing.assert_close(others, network(pictures).scatter(1, Y[:, None], 0.0))
        assert (expected < plain).any() == (threshold == 0.9)


def test_constraint_that_is_met_keeps_the_interpretation_from_abstaining() -> None:
    """The geometric mean of the answers is not above their mean, which the threshold is for."""
    network = victim()
    pictures = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y, target = torch.arange(60) % 4, (torch.arange(60) + 1) % 4
    interpretation = make_interpretation(0.24)
    constraint = InterpretationConstraint.of(interpretation, 0.1, pictures, y, target)
    met = log_odds_of(constraint.logits_and_change(network, pictures, y)[0], y) >= math.log(0.1 / 0.9)
    answer = interpretation.log_probs_and_maps(pictures, y, target)[0].exp().mean(dim=0)
    assert 5 < met.sum() < 55
    assert (answer[met] >= 0.24).all()


def test_gradient_reaches_the_image_through_answer_and_map() -> None:
    pictures = images().flip(3).requires_grad_()
    constraint = InterpretationConstraint.of(make_interpretation(0.9), CONFIDENCE, images(), Y, TARGET)
    chosen = torch.tensor([1, 3])
    logits, change = constraint.rows(chosen).logits_and_change(victim(), pictures[chosen], Y[chosen])
    for value in (log_odds_of(logits, Y[chosen]), change):
        (gradient,) = torch.autograd.grad(value.sum(), pictures, retain_graph=True)
        norm = gradient.flatten(1).norm(dim=1)
        assert (norm > 0).tolist() == [False, True, False, True, False]


def attacked(interpretation: RobustInterpretation | None, f2: float = 0.0, cam: float = 0.0) -> AttackResult:
    """An attack from G(z0), which the generator redraws as it is, by some of its terms."""
    models = AttackModels(victim(), LinearGenerator(), train_images=train_images(), interpretation=interpretation)
    weights = {"f2": f2, "surrogates": 0.0, "discriminator": 0.0, "norm": 0.0, "cam": cam}
    return BoundAttack(make_attack("type1_robust", keep_best=False, weights=weights), models)(images(), Y, TARGET)


def test_attack_raises_an_answer_below_the_threshold() -> None:
    interpretation = make_interpretation(0.99)
    result = attacked(interpretation)
    before, after = (answers(interpretation, pictures) for pictures in (start_of(result), result.x_adv))
    assert (after > before + 0.001).all()


def test_attack_reduces_the_change_of_the_averaged_map() -> None:
    interpretation = make_interpretation(1e-6)
    without, result = attacked(interpretation, f2=1.0), attacked(interpretation, f2=1.0, cam=1000.0)
    change = result.terms["cam"]
    assert (change[:, -1] < 0.5 * without.terms["cam"][:, -1]).all()
    constraint = InterpretationConstraint.of(interpretation, CONFIDENCE, images(), Y, TARGET)
    torch.testing.assert_close(constraint.logits_and_change(victim(), result.x_adv, Y)[1], change[:, -1])


@torch.no_grad()
def start_of(result: AttackResult) -> Tensor:
    """G(z0)."""
    assert result.z0 is not None
    return LinearGenerator().decode(result.z0)


def test_attack_without_its_interpretation_is_refused() -> None:
    with pytest.raises(UserError, match="type1_robust attacks a robust interpretation, and there is none"):
        attacked(None)


def test_type2_attack_on_an_interpretation_is_refused() -> None:
    with pytest.raises(UserError, match=r"attack\.interpretation is that of the class that the victim keeps"):
        make_attack("type1_robust", kind="type2")


def test_interpretations_threshold_is_part_of_the_attacks_state() -> None:
    """So that an interrupted attack on another interpretation is not resumed; see `run_attack`."""
    network, generator, _ = networks()
    models = AttackModels(network, generator, interpretation=make_interpretation(0.3))
    assert models.state_dict()["interpretation.threshold"] == 0.3
