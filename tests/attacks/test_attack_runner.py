"""An attack in batches: each is attacked once, and reused by the same attack only."""

from pathlib import Path

import pytest
import torch
from conftest import compose
from torch import Tensor, nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.predict import batch_file
from cam_adv.attacks.result import AttackResult
from cam_adv.attacks.runner import run_attack
from cam_adv.config.compose import settings_from
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages

LABELS, TARGET = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])


def images() -> Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def bound_attack(*overrides: str, victim_seed: int = 0, seed: int = 3) -> BoundAttack:
    torch.manual_seed(victim_seed)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 4))
    settings = settings_from(compose(["attack=pgd", "attack.steps=3", *overrides])).attack
    return BoundAttack(settings, AttackModels(victim), seed)


def run(attack: BoundAttack, folder: Path) -> tuple[AttackResult, float]:
    data = LabelledImages((255 * images()).byte(), LABELS)
    chosen = torch.tensor([4, 0, 2])
    selection = Selection(chosen, LABELS[chosen], TARGET[chosen])
    return run_attack(attack, data, selection, settings_from(compose(["hardware=cpu"])).hardware, folder)


def test_batch_size_does_not_change_the_result(tmp_path: Path) -> None:
    result, seconds_before = run(bound_attack("attack.batch_size=2"), tmp_path)
    assert seconds_before == 0
    other = run(bound_attack("attack.batch_size=1"), tmp_path)[0]
    torch.testing.assert_close(other.x_adv, result.x_adv, rtol=0, atol=1e-5)
    direct = bound_attack()((255 * images()).byte()[[4, 0, 2]].float() / 255, LABELS[[4, 0, 2]], TARGET[[4, 0, 2]])
    torch.testing.assert_close(direct.x_adv, result.x_adv, rtol=0, atol=1e-5)


def test_finished_batches_are_not_attacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(bound_attack("attack.batch_size=2"), tmp_path)
    monkeypatch.setattr(BoundAttack, "forward", None)
    again, seconds_before = run(bound_attack("attack.batch_size=2"), tmp_path)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in result.tensors().items())
    assert seconds_before > 0


def test_missing_and_damaged_batches_alone_are_attacked_again(tmp_path: Path) -> None:
    result, _ = run(bound_attack("attack.batch_size=1"), tmp_path)
    (folder,) = tmp_path.iterdir()
    batch_file(folder, 0).unlink()
    batch_file(folder, 1).write_bytes(b"no tensors")
    written = batch_file(folder, 2).stat().st_mtime_ns
    again, _ = run(bound_attack("attack.batch_size=1"), tmp_path)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in result.tensors().items())
    assert batch_file(folder, 2).stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        lambda: bound_attack("attack.strength=0.2"),
        lambda: bound_attack("attack.norm=l2"),
        lambda: bound_attack(victim_seed=1),
        lambda: bound_attack(seed=4),
    ],
    ids=["strength", "norm", "victim", "seed"],
)
def test_batches_of_another_attack_are_not_reused(other: object, tmp_path: Path) -> None:
    first = run(bound_attack(), tmp_path)[0]
    second, seconds_before = run(other(), tmp_path)  # type: ignore[operator]
    assert seconds_before == 0
    assert not torch.equal(first.x_adv, second.x_adv)
    assert len(list(tmp_path.iterdir())) == 2
