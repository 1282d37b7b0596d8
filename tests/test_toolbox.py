"""Trained models from Python, and what holds of the attack on them: strength, batch size, seed."""

import pytest
import torch

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.result import AttackResult
from cam_adv.errors import UserError
from cam_adv.evaluation.verdict import Verdict, type1_verdict
from cam_adv.settings import LatentAttackSettings
from cam_adv.toolbox import Toolbox, load

IMAGES = 64


@pytest.fixture(scope="module")
def overrides(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The tiny study with a generator that has learnt to draw."""
    longer = ["svae_epochs=120", "learning_rate=0.01", "kl_weight=0.05"]
    store = tmp_path_factory.mktemp("toolbox")
    return [*tiny, *[f"model.generator.training.{change}" for change in longer], f"outputs={store}"]


@pytest.fixture(scope="module")
def tools(overrides: list[str]) -> Toolbox:
    return load(*overrides)


def pictures(tools: Toolbox) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images that the victim gets right, their labels, and the next class as the target."""
    x, y = tools.splits.train.images.float() / 255, tools.splits.train.labels
    right = (tools.victim(x).argmax(dim=1) == y).nonzero().squeeze(1)[:IMAGES]
    assert len(right) == IMAGES
    return x[right], y[right], (y[right] + 1) % 3


def plan(tools: Toolbox, **changes: object) -> LatentAttackSettings:
    return tools.settings.attack.model_copy(update={"steps": 30, **changes})


def attack(tools: Toolbox, settings: LatentAttackSettings) -> LatentAttack:
    return LatentAttack(tools.victim, tools.generator, settings, tools.surrogates, tools.real, tools.settings.seed)


@torch.no_grad()
def verdict(tools: Toolbox, result: AttackResult) -> Verdict:
    victim, judge = tools.victim(result.x_adv).softmax(dim=1), tools.judge.probs(result.x_adv)
    return type1_verdict(victim, judge, result.y, result.target, confidence=0.4)


def test_models_come_from_the_store(overrides: list[str], tools: Toolbox) -> None:
    """The second time nothing is trained: the same weights, hence the same pictures."""
    x, y, target = (part[:5] for part in pictures(tools))
    assert torch.equal(load(*overrides).attack()(x, y, target).x_adv, tools.attack()(x, y, target).x_adv)


def test_success_grows_with_strength(tools: Toolbox) -> None:
    """Nothing changes inside a ball of radius 0; each larger ball holds the smaller one's codes."""
    successes = [
        int(verdict(tools, attack(tools, plan(tools, strength=strength))(*pictures(tools))).success.sum())
        for strength in (0.0, 2.0, 4.0, 8.0)
    ]
    assert successes[0] == 0
    assert successes == sorted(successes)
    assert successes[-1] > IMAGES / 4


def test_batch_size_changes_no_verdict_and_a_seed_repeats_itself(tools: Toolbox) -> None:
    """In float32 on trained networks, where sums in another order differ in the last digits."""
    x, y, target = (part[-32:] for part in pictures(tools))
    ours = attack(tools, plan(tools, steps=15))
    whole = ours(x, y, target)
    assert torch.equal(ours(x, y, target).z, whole.z)
    expected = vars(verdict(tools, whole))
    assert 0 < int(expected["success"].sum()) < 32
    for size in (1, 7):
        batches = [ours(*part) for part in zip(x.split(size), y.split(size), target.split(size), strict=True)]
        answers = [vars(verdict(tools, part)) for part in batches]
        for question, answer in expected.items():
            assert torch.equal(torch.cat([part[question] for part in answers]), answer), (size, question)


def test_a_network_of_the_users_own_is_attacked_with_the_same_tools(tools: Toolbox) -> None:
    """A victim that always says y lets every picture become what the proxies believe."""

    class Stubborn(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[9.0, 0.0, 0.0]]).expand(len(images), 3) + 0 * images.flatten(1).sum(1, keepdim=True)

    x, y, _ = pictures(tools)
    x = x[y == 0]
    y, target = torch.zeros(len(x), dtype=torch.long), torch.ones(len(x), dtype=torch.long)
    result = LatentAttack(Stubborn(), tools.generator, plan(tools), tools.surrogates, tools.real)(x, y, target)
    assert (tools.judge.probs(result.x_adv).argmax(dim=1) == 1).float().mean() > 0.8


def test_a_wrong_override_is_said_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match=r"attack\.confidence=2"):
        load("attack.confidence=2")
