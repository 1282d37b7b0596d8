"""Type II attacks: the roles are exchanged, what pixel attacks hand over, and a sweep of both to its files."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Answer, Study, called, compose
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attack.batches import walk_batches
from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.minimal_norm import minimal_norm
from cam_adv.attack.norm_bounded import fgsm, pgd, random_start
from cam_adv.attack.pixel_attack import PixelAttack
from cam_adv.attack.result import AttackResult
from cam_adv.attack.selection import Selection
from cam_adv.attack.way import straight_way
from cam_adv.config import settings_from
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.networks.svae import SVAE
from cam_adv.networks.victims import LeNet
from cam_adv.settings import AnyAttack, LatentAttackSettings, MinimalNormSettings

LABELS = {"y": torch.tensor([0, 1, 2, 3, 0]), "target": torch.tensor([1, 2, 3, 0, 2])}


def plan(attack: str, *overrides: str) -> AnyAttack:
    return settings_from(compose([f"attack={attack}", *overrides])).attack


def networks() -> tuple[nn.Module, SVAE, list[nn.Module]]:
    """A victim, a generator and a surrogate with random weights, in training mode on purpose."""
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 4))
    return victim, SVAE(1, 4, (28, 28), latent_size=5, width=4, hidden=16), [LeNet(1, 4, (28, 28))]


def pictures() -> Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def pixel_attack(attack: str, *overrides: str) -> PixelAttack:
    victim, generator, _ = networks()
    return PixelAttack(victim, generator, plan(attack, *overrides), seed=3)


# The latent walk


def test_type2_is_the_walk_of_type1_with_its_labels_exchanged() -> None:
    victim, generator, surrogates = networks()
    settings = plan("type2_latent", "attack.steps=8", "attack.frames=3", "attack.keep_best=false")
    assert isinstance(settings, LatentAttackSettings)
    of_type1 = LatentAttack(victim, generator, settings.model_copy(update={"kind": "type1"}), surrogates)
    exchanged = of_type1(pictures(), y=LABELS["target"], target=LABELS["y"])
    result = LatentAttack(victim, generator, settings, surrogates)(pictures(), **LABELS)
    assert not torch.equal(result.z, result.z0)
    for name in ("z0", "z", "x_adv", "path", "steps"):
        assert torch.equal(getattr(result, name), getattr(exchanged, name)), name
    assert all(torch.equal(value, exchanged.terms[name]) for name, value in result.terms.items())
    assert torch.equal(result.y, LABELS["y"])
    assert torch.equal(result.target, LABELS["target"])


# Attacks on pixels


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_hands_over_what_the_function_finds(norm: str) -> None:
    attack = pixel_attack("pgd", f"attack.norm={norm}", "attack.steps=9", "attack.frames=4", "attack.strength=0.5")
    result = attack(pictures(), **LABELS)
    victim = networks()[0].eval()
    start = random_start(pictures(), 0.5, norm, torch.Generator().manual_seed(3))
    way = [start]
    size = attack.settings.step_size * 0.5
    expected = pgd(
        victim, pictures(), LABELS["y"], 0.5, norm, 9, size, start, lambda step, images: way.append(images)
    )
    assert torch.equal(result.x_adv, expected)
    assert result.steps.tolist() == [9] * 5
    recorded = [way[step] for step in (0, 3, 6, 9)]
    losses = [functional.cross_entropy(victim(images), LABELS["y"], reduction="none") for images in recorded]
    assert torch.allclose(result.terms["J1 victim"], torch.stack(losses, dim=1), atol=1e-5)
    generator = networks()[1].eval()
    with torch.no_grad():
        codes = torch.stack([generator.encode(images).mean for images in recorded], dim=1)
        assert torch.allclose(result.path, codes, atol=1e-5)
        assert torch.allclose(result.z0, generator.encode(pictures()).mean, atol=1e-5)
    assert torch.equal(result.z, result.path[:, -1])


def test_without_a_random_start_pgd_begins_at_x() -> None:
    attack = pixel_attack("pgd", "attack.random_start=false", "attack.steps=3")
    result = attack(pictures(), **LABELS)
    assert torch.equal(result.path[:, 0], result.z0)
    assert attack.settings.starts == ["x"]


def test_fgsm_hands_over_its_two_pictures() -> None:
    result = pixel_attack("fgsm", "attack.strength=0.2")(pictures(), **LABELS)
    victim = networks()[0].eval()
    assert torch.equal(result.x_adv, fgsm(victim, pictures(), LABELS["y"], 0.2, "linf"))
    assert result.path.shape[1] == 2
    assert torch.equal(result.path, torch.stack([result.z0, result.z], dim=1))
    assert result.steps.tolist() == [1] * 5


def test_the_target_is_what_the_victim_says_in_the_end() -> None:
    attack = pixel_attack("pgd", "attack.strength=1")
    y = attack.victim.eval()(pictures()).argmax(dim=1)
    result = attack(pictures(), y, target=y)
    assert torch.equal(result.target, attack.victim(result.x_adv).argmax(dim=1))
    assert (result.target != y).all()
    unmoved = pixel_attack("fgsm", "attack.strength=0")(pictures(), y, target=y + 1)
    assert torch.equal(unmoved.target, y)
    assert torch.equal(unmoved.x_adv, pictures())


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "pgd_l2", "ddn", "deepfool"])
def test_a_batch_gives_what_its_images_give_one_by_one(attack: str) -> None:
    strong = {"fgsm": ["attack.strength=0.2"], "pgd": ["attack.strength=0.2"], "pgd_l2": ["attack.strength=3"]}
    attacked = pixel_attack(attack, *strong.get(attack, ()))
    y = attacked.victim.eval()(pictures()).argmax(dim=1)
    together = attacked(pictures(), y, y)
    assert (together.target != y).all()
    for row in range(5):
        one = slice(row, row + 1)
        alone = attacked(pictures()[one], y[one], y[one])
        for name, value in alone.tensors().items():
            torch.testing.assert_close(value, together[one].tensors()[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attack", ["pgd", "ddn", "deepfool"])
def test_networks_and_random_state_stay_as_they_were(attack: str) -> None:
    attacked = pixel_attack(attack)
    before = {name: value.clone() for name, value in attacked.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with torch.no_grad():
        attacked(pictures(), **LABELS)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in attacked.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in attacked.parameters())
    assert all(module.training for module in attacked.modules())


def test_pixels_outside_their_range_are_refused() -> None:
    with pytest.raises(UserError, match="outside"):
        pixel_attack("fgsm")(2 * pictures(), **LABELS)


def test_batches_are_found_again_and_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = LabelledImages((255 * pictures()).byte(), LABELS["y"])
    selection = Selection(torch.tensor([4, 0, 2]), LABELS["y"][[4, 0, 2]], LABELS["target"][[4, 0, 2]])
    hardware = settings_from(compose(["hardware=cpu"])).hardware

    def walked(batch_size: int, folder: Path) -> AttackResult:
        made = pixel_attack("pgd", f"attack.batch_size={batch_size}")
        return walk_batches(made, data, selection, hardware, folder)

    result = walked(2, tmp_path)
    torch.testing.assert_close(walked(1, tmp_path).x_adv, result.x_adv, rtol=0, atol=1e-5)
    monkeypatch.setattr(PixelAttack, "forward", None)
    again = walked(2, tmp_path)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in result.tensors().items())


# The nearest picture of another class


class TwoSided(nn.Module):
    """Says 1 where the mean pixel is above a half, 0 where it is below; the logits differ by 8·(mean − ½)."""

    def forward(self, images: Tensor) -> Tensor:
        margin = 8 * (images.flatten(1).mean(dim=1) - 0.5)
        return torch.stack([-margin / 2, margin / 2], dim=1)


LEVELS = (0.45, 0.4, 0.3)


def flat() -> Tensor:
    """Grey pictures of 16 pixels: the border is at ½, so 4·(½ − level) away under L2, ½ − level under L∞."""
    return torch.tensor(LEVELS).reshape(3, 1, 1, 1).expand(3, 1, 4, 4).contiguous()


@pytest.mark.parametrize(
    ("attack", "norm", "low", "high"),
    [
        ("ddn", "l2", 1, 1.07),  # its ball shrinks by 5% at a time
        ("deepfool", "l2", 1, 1.03),  # 2% beyond the border
        ("deepfool", "linf", 1, 1.03),
        ("carlini_wagner", "l2", 1, 1.1),
    ],
)
def test_the_nearest_picture_is_as_far_as_the_border(attack: str, norm: str, low: float, high: float) -> None:
    y = torch.zeros(3, dtype=torch.long)
    settings = plan(attack, f"attack.norm={norm}")
    assert isinstance(settings, MinimalNormSettings)
    x_adv = minimal_norm(TwoSided().eval(), flat(), y, settings, seed=0)
    assert TwoSided()(x_adv).argmax(dim=1).tolist() == [1, 1, 1]
    true = (0.5 - torch.tensor(LEVELS)) * (4 if norm == "l2" else 1)
    offset = (x_adv - flat()).flatten(1)
    share = offset.norm(dim=1, p=2 if norm == "l2" else torch.inf) / true
    assert (share >= low).all(), share
    assert (share <= high).all(), share


def test_a_strength_brings_far_pictures_back_to_its_ball() -> None:
    """The first border is 0.2 away, the second 0.4: only the first is inside a ball of 0.3."""
    y = torch.zeros(3, dtype=torch.long)
    settings = plan("ddn", "attack.strength=0.3")
    assert isinstance(settings, MinimalNormSettings)
    x_adv = minimal_norm(TwoSided().eval(), flat(), y, settings, seed=0)
    lengths = (x_adv - flat()).flatten(1).norm(dim=1)
    assert lengths[0].item() < 0.22
    torch.testing.assert_close(lengths[1:], torch.tensor([0.3, 0.3]))
    assert TwoSided()(x_adv).argmax(dim=1).tolist() == [1, 0, 0]


def test_carlini_wagner_hands_over_x_where_it_finds_nothing() -> None:
    """Two steps reach no border, and Foolbox would hand over black pictures."""
    settings = plan("carlini_wagner", "attack.steps=2", "attack.searches=1")
    assert isinstance(settings, MinimalNormSettings)
    x_adv = minimal_norm(TwoSided().eval(), flat(), torch.zeros(3, dtype=torch.long), settings, seed=0)
    assert torch.equal(x_adv, flat())


# What is made of them


def test_the_straight_way_by_hand() -> None:
    result = pixel_attack("fgsm")(pictures(), **LABELS)
    images, captions = straight_way(result, row=1, count=4)
    assert captions == ["x", "25% of the way", "50% of the way", "75% of the way", "x'"]
    torch.testing.assert_close(images[1], 0.75 * result.x[1] + 0.25 * result.x_adv[1])
    assert torch.equal(images[0], result.x[1])
    assert torch.equal(images[4], result.x_adv[1])


JOBS = ("type2_latent", "pgd")


@pytest.fixture(scope="module")
def sweep(tiny: list[str], study: Study) -> tuple[Path, Answer]:
    """The folder of a sweep over two Type II attacks, on the models of the first study."""
    of_latent_attacks = ("attack.confidence=", "attack.learning_rate=", "attack.steps=")
    shared = [override for override in tiny if not override.startswith(of_latent_attacks)]
    answer = called(
        ["-m", *shared, f"attack={','.join(JOBS)}", "attack.strength=3", "hydra.sweep.dir=type2"], study.root
    )
    assert answer.code == 0, answer.err
    return study.root / "type2", answer


def job(sweep: tuple[Path, Answer], attack: str) -> tuple[dict[str, Any], dict[str, Tensor], list[dict[str, str]]]:
    """What a job of the sweep left: summary, tensors, rows."""
    (folder,) = (path.parent for path in sweep[0].glob("*/config.yaml") if OmegaConf.load(path).attack.name == attack)
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((folder / "summary.json").read_text()), load_file(folder / "attack.safetensors"), rows


@pytest.mark.parametrize("attack", JOBS)
def test_rates_follow_from_the_tensors(sweep: tuple[Path, Answer], attack: str) -> None:
    summary, tensors, rows = job(sweep, attack)
    y, every = tensors["y"], torch.arange(len(tensors["y"]))
    victim, judge = tensors["victim_probs"], tensors["judge_probs"]
    kept, changed = judge.argmax(dim=1) == y, victim.argmax(dim=1) != y
    answers = {
        "kept": kept,
        "changed": changed,
        "success": kept & changed,
        "success_confident": kept & changed & (judge[every, y] >= 0.9),
        "kept_f2": tensors["f2_probs"].argmax(dim=1) == y,
    }
    for question, answer in answers.items():
        assert summary[question]["rate"] == pytest.approx(answer.double().mean().item()), question
        if question in rows[0]:
            assert [row[question] for row in rows] == [str(int(one)) for one in answer]
    assert summary["kind"] == "type2"
    assert "changed_f2" not in summary
    assert changed.any()


def test_the_same_images_are_attacked_as_by_type1(sweep: tuple[Path, Answer], study: Study) -> None:
    for attack in JOBS:
        assert torch.equal(job(sweep, attack)[1]["index"], study.tensors["index"])
    assert torch.equal(job(sweep, "type2_latent")[1]["target"], study.tensors["target"])


def test_nearest_is_asked_of_the_class_that_stays(sweep: tuple[Path, Answer], splits: Any) -> None:
    tensors = job(sweep, "pgd")[1]
    for row in range(len(tensors["y"])):
        real = splits.train.images[splits.train.labels == tensors["y"][row]].float() / 255
        nearest = (real - tensors["x_adv"][row]).flatten(1).norm(dim=1).min()
        assert tensors["distance_nearest"][row].item() == pytest.approx(nearest.item(), rel=1e-4)


def test_pgd_is_drawn_from_x_to_what_the_victim_said(sweep: tuple[Path, Answer]) -> None:
    """Once for each class that pictures are asked of: nobody names a target."""
    (folder,) = sweep[0].glob("*attack=pgd*")
    pictures = OmegaConf.load(folder / "config.yaml").dataset.pictures
    walks = sorted(path.stem for path in (folder / "figures").glob("*_to_*.png"))
    assert len(walks) == len({source for source, _ in pictures})
    assert (folder / "trajectory.gif").exists()


def test_words_are_those_of_type2(sweep: tuple[Path, Answer]) -> None:
    said = " ".join(sweep[1].out.split())
    for words in ("kept: the judge says y", "changed: the victim says another class than y", "kept, if f2 is asked"):
        assert words in said
    assert "the judge says y'" not in said
    table = json.loads((sweep[0] / "sweep.json").read_text())
    assert [row["attack"] for row in table] == list(JOBS)
    for row in table:
        assert row["success"] == job(sweep, row["attack"])[0]["success"]["rate"]
