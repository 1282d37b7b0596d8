"""What the command line refuses is refused from Python, too: by the attack itself, before it attacks."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from conftest import compose
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.base import Attack, AttackModels, BoundAttack
from cam_adv.attacks.ddn import ddn
from cam_adv.attacks.pgd import PGD, pgd
from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.normalized import Normalized

N, CLASSES = 10, 4


class Victim(nn.Module):
    """Right on `IMAGES`, each of which has one bright quarter, with changes to its input and its output."""

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Any] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.before, self.after, self.scale = before, after, nn.Parameter(torch.tensor(4.0))

    def forward(self, batch: Tensor) -> Any:
        quarters = functional.adaptive_avg_pool2d(self.before(batch), 2)
        return self.after(self.scale * quarters.flatten(1))


def quarters() -> tuple[Tensor, Tensor]:
    labels = torch.arange(N) % CLASSES
    bright = functional.one_hot(labels, CLASSES).float().reshape(N, 1, 2, 2)
    noise = 0.3 * torch.rand(N, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return 0.6 * functional.interpolate(bright, (16, 16)) + noise, labels


IMAGES, Y = quarters()
TARGET = (Y + 1) % CLASSES


def generator(classes: int = CLASSES) -> SVAE:
    torch.manual_seed(0)
    return SVAE(1, classes, (16, 16), latent_size=4, width=2, hidden=8)


@cache
def make(name: str = "tang2018") -> Attack:
    return settings_from(compose([f"attack={name}", "attack.steps=2", "attack.trace_points=2"])).attack


def bound(attack: str = "tang2018", victim: nn.Module | None = None, classes: int = CLASSES) -> BoundAttack:
    return BoundAttack(make(attack), AttackModels(Victim() if victim is None else victim, generator(classes)))


def with_pixel(value: float) -> Tensor:
    images = IMAGES.clone()
    images[0, 0, 0, 0] = value
    return images


GIVEN: dict[str, tuple[Any, Any, Any, str, str]] = {
    "int32 labels": (IMAGES, Y.int(), TARGET, "The label y is torch.int32", "labels.long()"),
    "float labels": (IMAGES, Y.float(), TARGET, "The label y is torch.float32", "labels.long()"),
    "one-hot labels": (IMAGES, functional.one_hot(Y), TARGET, "one number for each class", "argmax"),
    "too few labels": (IMAGES, Y[:3], TARGET, r"shape \(3,\), but there are 10 images", "(N,)"),
    "a class too high": (IMAGES, Y + 1, TARGET, "names class 4, but there are 4 classes", "0 to 3"),
    "int32 targets": (IMAGES, Y, TARGET.int(), "The target y' is torch.int32", "labels.long()"),
    "one-hot targets": (IMAGES, Y, functional.one_hot(TARGET), "one number for each class", "argmax"),
    "a negative target": (IMAGES, Y, TARGET - 2, "names class -1|names class -2", "0 to 3"),
    "y' = y": (IMAGES, Y, Y, "the label y of 10 of 10 images", "% 4"),
    "no images": (IMAGES[:0], Y[:0], TARGET[:0], r"shape \(0, 1, 16, 16\)", "one or more"),
    "one image": (IMAGES[0], Y[0], TARGET[0], r"shape \(1, 16, 16\)", "unsqueeze"),
    "NaN": (with_pixel(math.nan), Y, TARGET, "NaN or infinite", "Leave these images out"),
    "infinity": (with_pixel(math.inf), Y, TARGET, "NaN or infinite", "Leave these images out"),
    "8 bits as numbers": (255 * IMAGES, Y, TARGET, "the highest is", "by 255"),
    "8 bits": ((255 * IMAGES).byte(), Y, TARGET, "torch.uint8", "by 255"),
    "normalised": (2 * IMAGES - 1, Y, TARGET, "the lowest is -1", "Normalized"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_images_and_labels_are_checked(name: str) -> None:
    x, y, target, what, remedy = GIVEN[name]
    with pytest.raises(UserError, match=what) as refusal:
        bound()(x, y, target)
    assert remedy in refusal.value.remedy


def test_untargeted_attack_takes_any_target() -> None:
    victim = AttackModels(Victim())
    assert len(BoundAttack(make("pgd"), victim)(IMAGES, Y, Y)) == N
    with pytest.raises(UserError, match="The label y is"):
        BoundAttack(make("pgd"), victim)(IMAGES, Y.int(), Y)


VICTIMS: dict[str, tuple[Victim, str, str]] = {
    "softmax": (Victim(after=lambda logits: logits.softmax(dim=1)), "probabilities, not logits", "softmax"),
    "sigmoid": (Victim(after=lambda logits: logits.sigmoid()), "probabilities, not logits", "softmax"),
    "a tuple": (Victim(after=lambda logits: (logits, logits)), "returns tuple for 8 images", "one tensor"),
    "a dict": (Victim(after=lambda logits: {"logits": logits}), "returns dict for 8 images", "one tensor"),
    "a class too many": (
        Victim(after=lambda logits: functional.pad(logits, (0, 1))),
        r"returns \(8, 5\)",
        "4 logits",
    ),
    "a class too few": (Victim(after=lambda logits: logits[:, :3]), r"returns \(8, 3\)", "4 logits"),
    "halves": (Victim(after=lambda logits: logits.half()), "torch.float16", "float"),
    "doubles": (Victim(after=lambda logits: logits.double()), "torch.float64", "float"),
    "dropout": (Victim(before=functional.dropout), "differently each time", "self.training"),
    "rounded pixels": (Victim(before=torch.round), "no gradient", "rounding"),
    "in place": (Victim(before=lambda images: images.sub_(0.1)), "changes the images", "new ones"),
    "squeezed": (Victim(after=lambda logits: logits.squeeze()), r"returns \(4,\) for a batch of 1", "any size"),
    "of one batch size": (Victim(after=lambda logits: logits.view(8, 4)), "fails on a batch of 1", "any size"),
    "8 bits": (
        Victim(before=lambda images: (images / 255).clamp(0.2, 1)),
        r"right on 30% of the images with pixels in \[0, 1\], and on 100% of them as 255 \* images",
        "Normalized(network, mean=[0], std=[0.003922])",
    ),
}


def test_what_is_refused_is_refused_again() -> None:
    victim, what, _ = VICTIMS["8 bits"]
    attack = bound("pgd", victim)
    with pytest.raises(UserError, match=r"The label y is torch\.int32"):
        attack(IMAGES, Y.int(), TARGET)
    for _ in range(2):
        with pytest.raises(UserError, match=what):
            attack(IMAGES, Y, TARGET)


def only_unit_range(images: Tensor) -> Tensor:
    assert images.min() >= 0
    assert images.max() <= 1
    return images


def test_victim_that_fails_on_other_pixels_is_accepted() -> None:
    assert len(bound("pgd", Victim(before=only_unit_range))(IMAGES, Y, TARGET)) == N


@pytest.mark.parametrize("attack", ["tang2018", "pgd"])
@pytest.mark.parametrize("name", VICTIMS)
def test_victim_is_checked(name: str, attack: str) -> None:
    victim, what, remedy = VICTIMS[name]
    if attack == "pgd" and name.startswith("a class"):
        pytest.skip("it knows no other number of classes")
    with pytest.raises(UserError, match=f"^The victim .*{what}") as refusal:
        bound(attack, victim)(IMAGES, Y, TARGET)
    assert remedy in refusal.value.remedy


def test_victim_of_other_pixels_passes_behind_its_normalisation() -> None:
    victim = Victim(before=lambda images: (images / 255).clamp(0.2, 1))
    assert len(bound(victim=Normalized(victim, [0], [1 / 255]))(IMAGES, Y, TARGET)) == N


def test_networks_must_have_the_same_classes() -> None:
    with pytest.raises(UserError, match=r"The victim returns \(8, 4\) for 8 images, but the dataset has 5 classes"):
        bound(classes=5)(IMAGES, Y, TARGET)


def test_surrogates_are_checked() -> None:
    surrogate = Victim(after=lambda logits: logits.softmax(dim=1))
    attack = make("type1").model_copy(
        update={"init": ["mean"], "weights": make("type1").weights.model_copy(update={"density": 0})}
    )
    models = AttackModels(Victim(), generator(), [Victim(), surrogate])
    with pytest.raises(UserError, match="Surrogate 2 returns probabilities"):
        BoundAttack(attack, models)(IMAGES, Y, TARGET)


def test_victim_that_is_no_module_is_refused() -> None:
    with pytest.raises(UserError, match="The victim is a function"):
        AttackModels(lambda images: images)  # type: ignore[arg-type]


@pytest.mark.parametrize("attack", ["tang2018", "pgd", "ddn"])
def test_images_with_gradients_give_a_result_without(attack: str) -> None:
    expected = bound(attack)(IMAGES, Y, TARGET)
    x = IMAGES.clone().requires_grad_()
    result = bound(attack)(2 * x / 2, Y, TARGET)
    for name, value in result.tensors().items():
        assert not value.requires_grad, name
        assert torch.equal(value, expected.tensors()[name]), name
    assert x.grad is None


def test_functions_detach_their_images() -> None:
    victim, x = Victim(), IMAGES.clone().requires_grad_()
    found = pgd(victim, x, Y, 0.1, "linf", 2, 0.05, x)
    assert not found.requires_grad
    assert torch.equal(found, pgd(victim, IMAGES, Y, 0.1, "linf", 2, 0.05, IMAGES))
    assert not ddn(victim, x, Y, 2, 1.0, 0.05).requires_grad


@pytest.mark.parametrize("attack", ["tang2018", "pgd", "ddn", "type2_latent"])
def test_attack_works_in_inference_mode(attack: str) -> None:
    models = AttackModels(Victim(), generator(), [Victim()])

    def run() -> dict[str, Tensor]:
        chosen = make(attack)
        if attack == "type2_latent":
            weights = chosen.weights.model_copy(update={"density": 0})  # type: ignore[attr-defined]
            chosen = chosen.model_copy(update={"weights": weights})
        return BoundAttack(chosen, models)(IMAGES + 0, Y + 0, TARGET + 0).tensors()

    expected = run()
    with torch.inference_mode():
        found = run()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_networks_made_in_inference_mode_are_refused() -> None:
    """They can have no gradients, not even outside of it."""
    with torch.inference_mode():
        victim = Victim()
    with pytest.raises(UserError, match=r"made in torch\.inference_mode") as refusal:
        BoundAttack(make("pgd"), AttackModels(victim))
    assert "torch.no_grad" in refusal.value.remedy


def test_pgd_function_works_in_inference_mode() -> None:
    victim = Victim()
    expected = pgd(victim, IMAGES, Y, 0.1, "linf", 2, 0.05, IMAGES)
    with torch.inference_mode():
        assert torch.equal(pgd(victim, IMAGES + 0, Y + 0, 0.1, "linf", 2, 0.05, IMAGES + 0), expected)


class ViewVictim(Victim):
    """Flattens by `Tensor.view`, which only contiguous images allow."""

    def forward(self, batch: Tensor) -> Any:
        return self.scale * batch.view(len(batch), 4, -1).mean(dim=2)


class ColourGenerator(SVAE):
    """Draws images in channels-last order."""

    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes).contiguous(memory_format=torch.channels_last)


def test_images_reach_the_victim_contiguous() -> None:
    torch.manual_seed(0)
    source = ColourGenerator(3, 4, (16, 16), latent_size=4, width=2, hidden=8)
    assert not source.decode(torch.zeros(2, 4)).is_contiguous()
    x = IMAGES.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    models = AttackModels(ViewVictim(), source)
    assert len(BoundAttack(make(), models)(x, Y, TARGET)) == N
    exact = PGD(name="pgd", norm="linf", strength=0.1, steps=2, step_size=0.5, random_start=True)
    assert len(BoundAttack(exact, AttackModels(ViewVictim()))(x, Y, TARGET)) == N
