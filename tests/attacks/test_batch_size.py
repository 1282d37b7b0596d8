"""How many images are attacked together: as given, by the size of the images on a CPU, by the memory of a GPU."""

import pytest
import torch
from conftest import compose
from torch import nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.batch_size import GPU_BATCH, largest_batch, resolve_batch_size
from cam_adv.config.compose import settings_from
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages


def resolved(side: int, count: int, *overrides: str) -> int:
    settings = settings_from(compose(["attack=pgd", "attack.steps=3", *overrides]))
    victim = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    labels = torch.zeros(count, dtype=torch.long)
    data = LabelledImages(torch.zeros(count, 3, side, side, dtype=torch.uint8), labels)
    attack = BoundAttack(settings.attack, AttackModels(victim))
    return resolve_batch_size(attack, data, Selection(torch.arange(count), labels, labels), settings.hardware)


@pytest.mark.parametrize(("side", "size"), [(8, 128), (64, 128), (128, 32), (4096, 1)])
def test_on_a_cpu_it_falls_with_the_size_of_the_images(side: int, size: int) -> None:
    assert resolved(side, 1, "hardware=cpu") == size


def test_given_number_is_taken() -> None:
    assert resolved(8, 2, "hardware=cpu", "attack.batch_size=7") == 7


@pytest.mark.parametrize(
    ("megabytes", "gigabytes", "images", "size"),
    [
        (1, 10, 200, 200),  # all at once
        (1, 10, 100_000, 4096),  # of the 6,000 that fit, a power of two
        (1, 80, 100_000, GPU_BATCH),
        (1, 80, 8193, GPU_BATCH),
        (100, 10, 61, 32),
        (100, 10, 60, 60),
        (10_000, 10, 5, 1),
    ],
)
def test_on_a_gpu_it_is_what_fits(megabytes: int, gigabytes: int, images: int, size: int) -> None:
    assert largest_batch(megabytes * 10**6, gigabytes * 10**9, images) == size


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_an_attack_of_that_many_images_fits() -> None:
    size = resolved(256, 20_000, "hardware=gpu")
    assert 1 < size <= GPU_BATCH
    settings = settings_from(compose(["attack=pgd", "attack.steps=2"]))
    victim = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    attack = BoundAttack(settings.attack, AttackModels(victim)).cuda()
    labels = torch.zeros(size, dtype=torch.long, device="cuda")
    attack(torch.zeros(size, 3, 256, 256, device="cuda"), labels, labels + 1)
