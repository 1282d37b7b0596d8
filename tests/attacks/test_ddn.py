"""DDN: against Foolbox's on a trained network, and on linear networks whose decision boundary is known."""

import foolbox
import pytest
import torch
from conftest import texture_images
from foolbox.attacks import DDNAttack
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.best_adversarial import misclassified
from cam_adv.attacks.ddn import ddn
from cam_adv.models.lp_balls import lp_norm


def linear(weight: Tensor, bias: Tensor) -> nn.Module:
    """Logits that are linear in the pixels."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that was trained to classify three textures, 60 images that it classifies correctly, their labels."""
    x = torch.from_numpy(texture_images(40, 16, seed=1)).flatten(0, 1)[:, None].float() / 255
    y = torch.arange(3).repeat_interleave(40)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    correct = ~misclassified(network, x, y)
    assert correct.sum() > 100
    chosen = correct.nonzero().squeeze(1)[::2][:60]
    return network, x[chosen], y[chosen]


def foolbox_ddn(network: nn.Module, x: Tensor, y: Tensor, steps: int, first_radius: float, gamma: float) -> Tensor:
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = DDNAttack(init_epsilon=first_radius, steps=steps, gamma=gamma)
    return attack.run(model, x, foolbox.Misclassification(y))


@pytest.mark.parametrize(("first_radius", "gamma"), [(1.0, 0.05), (0.3, 0.1)])
def test_ddn_finds_images_as_near_as_foolbox_ddn(
    trained: tuple[nn.Module, Tensor, Tensor], first_radius: float, gamma: float
) -> None:
    network, x, y = trained
    ours = ddn(network, x, y, 100, first_radius, gamma)
    theirs = foolbox_ddn(network, x, y, 100, first_radius, gamma)
    assert misclassified(network, ours, y).all()
    assert misclassified(network, theirs, y).all()
    assert ours.min() >= 0
    assert ours.max() <= 1
    distance, oracle = lp_norm(ours - x, "l2"), lp_norm(theirs - x, "l2")
    assert oracle.median() > 0.1
    # Ours also evaluates the images of the last step; until then both take the same path, up to rounding.
    assert distance.median().item() == pytest.approx(oracle.median().item(), rel=0.02)
    assert ((distance - oracle).abs() <= 0.02 * oracle).float().mean() > 0.9
    assert (distance <= oracle * 1.05).all()


def test_ddn_returns_the_nearest_image_beyond_the_boundary() -> None:
    """The boundary is at x_1 = 0.7, 0.2 away."""
    network = linear(torch.tensor([[0.0, 0.0], [50.0, 0.0]]), torch.tensor([0.0, -35.0]))
    x = torch.tensor([[[[0.5, 0.5]]]])
    images = ddn(network, x, torch.tensor([0]), steps=60, first_radius=1.0, gamma=0.05)
    assert 0.7 < images[0, 0, 0, 0] < 0.71
    assert images[0, 0, 0, 1] == pytest.approx(0.5, abs=1e-3)


def test_ddn_without_adversarial_images_returns_x() -> None:
    """The prediction would change only outside [0, 1]."""
    network = linear(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, -2.5]))
    x = torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ddn(network, x, torch.zeros(3, dtype=torch.long), 50, 1.0, 0.05), x)


def test_ddn_of_an_image_that_is_misclassified_already_returns_it() -> None:
    network = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -0.3]))
    x = torch.full((1, 1, 1, 1), 0.5)
    assert torch.equal(ddn(network, x, torch.tensor([0]), 20, 1.0, 0.05), x)
